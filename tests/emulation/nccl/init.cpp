// Entry points of NCCL: the life of a communicator.
#include <nccl.h>

#include <array>
#include <memory>
#include <thread>

#include "nccl/abort_delay.hpp"
#include "nccl/communicator_table.hpp"
#include "nccl/group.hpp"
#include "nccl/segment.hpp"
#include "runtime/broken_device.hpp"
#include "runtime/context.hpp"
#include "runtime/device.hpp"
#include "runtime/fatal.hpp"

namespace fakescore::emulation {
namespace {

bool is_blocking(const ncclConfig_t* config) {
  return config == nullptr || config->blocking == NCCL_CONFIG_UNDEF_INT || config->blocking != 0;
}

ncclResult_t create(ncclComm_t* handle, int size, const ncclUniqueId& id, int rank,
                    const ncclConfig_t* config) {
  if (is_in_group()) not_emulated("making a communicator inside a group");
  *handle = nullptr;
  if (device_is_broken()) return ncclUnhandledCudaError;
  if (size < 1 || rank < 0 || rank >= size) return ncclInvalidArgument;
  if (size > kMaxRanks) fatal("more than " + std::to_string(kMaxRanks) + " ranks");
  make_context(current_device());
  auto communicator =
      std::make_shared<Communicator>(id, size, rank, current_device(), is_blocking(config));
  const ncclResult_t result = communicator->init();
  if (result == ncclSuccess || result == ncclInProgress) {
    *handle = add_communicator(std::move(communicator));
  }
  return result;
}

/// NCCL works on the communicator's device in the caller's thread, and then makes the one current
/// that was before, which makes a context of it.
void come_back() {
  if (!device_is_broken()) make_context(current_device());
}

/// Does `use(communicator)` where the handle is one.
template <class Use>
ncclResult_t with_communicator(ncclComm_t handle, Use use) {
  const auto communicator = find_communicator(handle);
  return communicator == nullptr ? ncclInvalidArgument : use(*communicator);
}

}  // namespace
}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  // NCCL's own words.
  static constexpr std::array<const char*, ncclNumResults> kTexts{
      "no error",
      "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
      "unhandled system error (run with NCCL_DEBUG=INFO for details)",
      "internal error - please report this issue to the NCCL developers",
      "invalid argument (run with NCCL_DEBUG=WARN for details)",
      "invalid usage (run with NCCL_DEBUG=WARN for details)",
      "remote process exited or there was a network error",
      "NCCL operation in progress"};
  const auto index = static_cast<size_t>(result);
  return index < kTexts.size() ? kTexts.at(index) : "unknown result code";
}

const char* ncclGetLastError(ncclComm_t) { return last_nccl_error(); }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const auto made = Segment::create();
  if (!made) return ncclSystemError;
  *id = *made;
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* handle, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  return create(handle, size, id, rank, config);
}

ncclResult_t ncclCommInitRank(ncclComm_t* handle, int size, ncclUniqueId id, int rank) {
  return create(handle, size, id, rank, nullptr);
}

ncclResult_t ncclCommInitRankScalable(ncclComm_t* handle, int size, int rank, int,
                                      ncclUniqueId* ids, ncclConfig_t* config) {
  return create(handle, size, ids[0], rank, config);
}

ncclResult_t ncclCommFinalize(ncclComm_t handle) {
  return with_communicator(handle, [](Communicator& communicator) {
    return communicator.state() == ncclSuccess ? communicator.finalize() : communicator.state();
  });
}

ncclResult_t ncclCommDestroy(ncclComm_t handle) {
  const auto communicator = take_communicator(handle);
  if (communicator == nullptr) return ncclInvalidArgument;
  come_back();
  communicator->destroy();
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t handle) {
  const auto communicator = take_communicator(handle);
  if (communicator == nullptr) return ncclInvalidArgument;
  come_back();
  communicator->abort();
  std::this_thread::sleep_for(abort_delay().load());
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t* error) {
  return with_communicator(handle, [&](Communicator& communicator) {
    *error = communicator.state();
    return ncclSuccess;
  });
}

ncclResult_t ncclCommCount(const ncclComm_t handle, int* count) {
  return with_communicator(handle, [&](Communicator& communicator) {
    *count = communicator.size();
    return ncclSuccess;
  });
}

ncclResult_t ncclCommUserRank(const ncclComm_t handle, int* rank) {
  return with_communicator(handle, [&](Communicator& communicator) {
    *rank = communicator.rank();
    return ncclSuccess;
  });
}

ncclResult_t ncclCommCuDevice(const ncclComm_t handle, int* device) {
  return with_communicator(handle, [&](Communicator& communicator) {
    *device = communicator.device();
    return ncclSuccess;
  });
}

/// Registration is for speed alone: nothing depends on it.
ncclResult_t ncclCommRegister(const ncclComm_t handle, void* buffer, size_t, void** registration) {
  if (find_communicator(handle) == nullptr) return ncclInvalidArgument;
  *registration = buffer;
  return ncclSuccess;
}

ncclResult_t ncclCommDeregister(const ncclComm_t, void*) { return ncclSuccess; }

}  // extern "C"
