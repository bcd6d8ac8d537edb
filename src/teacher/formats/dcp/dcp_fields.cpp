#include "teacher/formats/dcp/dcp_fields.hpp"

#include "teacher/file/teacher_error.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kMaxFields = 64;         // of a dataclass; a pickle may name one object many times
constexpr size_t kMaxDcpDimensions = 64;  // what LibTorch's kernels take
constexpr const char* kManyLooks = "names one object too many times";

}  // namespace

const PickleObject& DcpFields::object(const PickleValue& value, std::string_view callable,
                                      std::string_view tensor) const {
  const PickleObject* object = value.object();
  if (object == nullptr || object->callable != callable) {
    fail(tensor, "has something else where a " + std::string(callable) + " belongs");
  }
  return *object;
}

const PickleValue* DcpFields::find(const PickleObject& object, std::string_view name) {
  const PicklePairs* pairs = object.state.dict();
  if (pairs == nullptr || pairs->size() > kMaxFields) return nullptr;
  budget_.charge_work(1 + pairs->size(), kManyLooks);
  const PickleValue* found = nullptr;
  for (const PicklePair& pair : *pairs) {
    if (pair.key.text() == name) found = &pair.value;
  }
  return found;
}

const PickleValue& DcpFields::get(const PickleObject& object, std::string_view name,
                                  std::string_view tensor) {
  const PickleValue* value = find(object, name);
  if (value == nullptr) {
    fail(tensor, "a " + std::string(object.callable) + " has no field " + std::string(name));
  }
  return *value;
}

std::vector<int64_t> DcpFields::sizes(const PickleValue& value, std::string_view tensor) {
  const PickleObject& size = object(value, kDcpSize, tensor);
  const PickleItems* items = size.arguments.size() == 1 ? size.arguments[0].tuple() : nullptr;
  if (items == nullptr || items->size() > kMaxDcpDimensions) {
    fail(tensor,
         "a size is not a tuple of at most " + std::to_string(kMaxDcpDimensions) + " numbers");
  }
  budget_.charge_work(1 + items->size(), kManyLooks);
  std::vector<int64_t> result;
  result.reserve(items->size());
  for (const PickleValue& item : *items) {
    const auto number = item.integer();
    if (!number || *number < 0) fail(tensor, "a size is not a count");
    result.push_back(*number);
  }
  return result;
}

void DcpFields::fail(std::string_view tensor, const std::string& message,
                     const std::string& remedy) const {
  throw_teacher_error(budget_.file(), std::string(tensor), message, remedy);
}

}  // namespace fakescore::detail
