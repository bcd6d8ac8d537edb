#include "teacher/formats/torch_file/torch_storages.hpp"

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/torch_file/torch_globals.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kNamesStorages = "names more storages than its pickle describes";
constexpr uint64_t kKnownBytes = 256;
constexpr uint64_t kStorageSteps = 64;  // to look one up among many

}  // namespace

TorchStorages::TorchStorages(const std::deque<PickleValue>& ids, const TorchRecords& records,
                             ReadBudget& budget)
    : records_(records) {
  for (const PickleValue& value : ids) {
    const auto id = read_id(value);
    if (!id) continue;  // refused where it is used
    budget.charge_work(kStorageSteps + id->record.size() / 4, kNamesStorages);
    const auto [known, is_new] = known_.try_emplace(id->record, Known{*id, false, std::nullopt});
    if (is_new) budget.charge_memory(kKnownBytes, kNamesStorages);
    const Id& first = known->second.first;
    if (id->dtype != first.dtype || id->count != first.count) known->second.is_contradicted = true;
  }
}

std::optional<TorchStorages::Id> TorchStorages::read_id(const PickleValue& id) {
  const PickleItems* fields = id.persistent_id() == nullptr ? nullptr : id.persistent_id()->tuple();
  if (fields == nullptr || fields->size() < 5 || (*fields)[0].text() != "storage") {
    return std::nullopt;
  }
  const PickleGlobal* type = (*fields)[1].global();
  const auto record = (*fields)[2].text();
  const auto count = (*fields)[4].integer();
  if (type == nullptr || !record || !count) return std::nullopt;
  return Id{type->name, *record, *count, torch_storage_dtype(type->name)};
}

TorchStorage TorchStorages::find(const PickleValue& id, const std::string& tensor) {
  const auto fail = [&](const std::string& message) {
    throw_teacher_error(records_.file(), tensor, message);
  };
  const auto read = read_id(id);
  if (!read) fail("has no storage");
  if (!read->dtype) fail("has a storage of the class " + shown(read->type));
  Known& known = known_.at(read->record);
  if (known.is_contradicted) {
    fail("has a storage, data/" + shown(read->record) +
         ", that the file names with several classes or sizes");
  }
  if (!known.bytes) known.bytes = bytes_of(*read, tensor);
  return {*read->dtype, *known.bytes};
}

std::span<const std::byte> TorchStorages::bytes_of(const Id& id, const std::string& tensor) const {
  const auto bytes = records_.get("data/" + std::string(id.record), tensor);
  int64_t wanted = 0;
  if (id.count < 0 || __builtin_mul_overflow(id.count, c10::elementSize(*id.dtype), &wanted) ||
      static_cast<uint64_t>(wanted) > bytes.size()) {
    throw_teacher_error(records_.file(), tensor,
                        "has a storage of " + std::to_string(id.count) +
                            " elements, but its record has " + std::to_string(bytes.size()) +
                            " bytes: truncated or hostile");
  }
  return bytes.first(static_cast<size_t>(wanted));
}

}  // namespace fakescore::detail
