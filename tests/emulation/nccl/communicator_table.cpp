#include "nccl/communicator_table.hpp"

#include <mutex>
#include <unordered_map>
#include <utility>

#include "runtime/fatal.hpp"

namespace fakescore::emulation {
namespace {

struct Table {
  std::mutex mutex;
  std::unordered_map<ncclComm_t, std::shared_ptr<Communicator>> communicators;
  std::string last_error;
};

Table& table() {
  static auto* const table = new Table;
  return *table;
}

}  // namespace

std::shared_ptr<Communicator> find_communicator(ncclComm_t handle) {
  const std::lock_guard<std::mutex> lock(table().mutex);
  const auto found = table().communicators.find(handle);
  if (found != table().communicators.end()) return found->second;
  complain("a call was given a communicator that does not exist");
  return nullptr;
}

ncclComm_t add_communicator(std::shared_ptr<Communicator> communicator) {
  const auto handle = reinterpret_cast<ncclComm_t>(communicator.get());
  const std::lock_guard<std::mutex> lock(table().mutex);
  table().communicators[handle] = std::move(communicator);
  return handle;
}

std::shared_ptr<Communicator> take_communicator(ncclComm_t handle) {
  auto communicator = find_communicator(handle);
  const std::lock_guard<std::mutex> lock(table().mutex);
  return table().communicators.erase(handle) == 1 ? communicator : nullptr;
}

const char* last_nccl_error() {
  // The text stays with the thread that asks, whatever fails next.
  thread_local std::string text;
  const std::lock_guard<std::mutex> lock(table().mutex);
  text = table().last_error;
  return text.c_str();
}

void set_last_nccl_error(const std::string& text) {
  const std::lock_guard<std::mutex> lock(table().mutex);
  table().last_error = text;
}

}  // namespace fakescore::emulation
