#include "teacher/formats/torch_file/torch_tensors.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/pickle/pickle_children.hpp"
#include "teacher/formats/torch_file/torch_classes.hpp"
#include "teacher/formats/torch_file/torch_globals.hpp"
#include "tensor/row_major.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kMaxDimensions = 64;
/// A tensor may hold an element many times (expand); one that grows beyond this by it is refused,
/// so that a small file cannot ask for any amount of memory.
constexpr int64_t kMaxExpandedElements = 1 << 24;

/// Rebuilds that make what has no plain elements, and what to call it.
constexpr std::array<std::pair<const char*, const char*>, 6> kUnreadable{{
    {"torch._utils._rebuild_qtensor", "is quantized"},
    {"torch._utils._rebuild_sparse_tensor", "is sparse"},
    {"torch._utils._rebuild_nested_tensor", "is a nested tensor"},
    {"torch._utils._rebuild_meta_tensor_no_storage", "is on the meta device: it has no values"},
    {"torch._utils._rebuild_device_tensor_from_cpu_tensor", "is of another device's own kind"},
    {"torch._utils._rebuild_device_tensor_from_numpy", "is of another device's own kind"},
}};

/// As LibTorch can: without it, a negative bit says nothing.
bool can_be_negated(at::ScalarType dtype) {
  constexpr std::array kFloats{at::kHalf, at::kBFloat16, at::kFloat, at::kDouble};
  return c10::isComplexType(dtype) ||
         std::find(kFloats.begin(), kFloats.end(), dtype) != kFloats.end() ||
         (c10::isIntegralType(dtype, false) && !c10::isBarebonesUnsignedType(dtype));
}

constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kRebuildFromType = "torch._tensor._rebuild_from_type_v2";
constexpr std::string_view kRebuildWrapper = "torch._utils._rebuild_wrapper_subclass";

constexpr const char* kRebuilds = "rebuilds more tensors than its pickle describes";
constexpr uint64_t kTensorSteps = 64;
constexpr uint64_t kRebuiltBytes = 256;
constexpr uint64_t kRebuiltDimensionBytes = 16;

bool is_rebuild(std::string_view callable) {
  return callable.starts_with("torch._utils._rebuild_") ||
         callable.starts_with("torch._tensor._rebuild_");
}

/// torch makes tensors of these as well; torch.save writes no such call.
bool is_plain_class(std::string_view name) {
  return name == "torch.Tensor" || name == "torch.nn.parameter.Parameter" ||
         name == "torch.nn.parameter.Buffer";
}

}  // namespace

/// Finds the tensor of one name.
class TorchTensorFinder {
 public:
  TorchTensorFinder(TorchTensors& tensors, const std::string& name)
      : tensors_(tensors), name_(name) {}

  std::optional<StoredTensor> find(const PickleValue& value) {
    const PickleObject* object = value.object();
    if (object == nullptr || !TorchTensors::is_tensor(value)) return std::nullopt;
    const auto known = tensors_.known_.find(object);
    if (known != tensors_.known_.end()) return known->second;
    if (object->is_built) fail("has a state of its own, which is not read", kSaveAgain);
    if (tensors_.has_overwritten_) {
      fail("may be overwritten: the file sets elements of tensors", kSaveAgain);
    }
    StoredTensor found = call(object->callable, object->arguments, object->made_at);
    tensors_.budget_.charge_memory(kRebuiltBytes + kRebuiltDimensionBytes * found.sizes.size(),
                                   kRebuilds);
    return tensors_.known_.emplace(object, std::move(found)).first->second;
  }

 private:
  static constexpr const char* kSaveAgain = "save it again: torch.save(model.state_dict(), path)";

  StoredTensor call(std::string_view callable, const PickleItems& arguments, uint32_t made_at) {
    tensors_.budget_.charge_work(kTensorSteps, kRebuilds);
    if (callable == kRebuildWrapper) {
      const auto* type = !arguments.empty() ? arguments[0].global() : nullptr;
      refuse_class(type == nullptr ? "of a subclass of Tensor" : type->name, false);
    }
    for (const auto& [rebuild, reason] : kUnreadable) {
      if (callable == rebuild) {
        fail(reason, "save it as a plain tensor: dequantize(), to_dense(), cpu()");
      }
    }
    if (callable == "torch._utils._rebuild_tensor" ||
        callable == "torch._utils._rebuild_tensor_v2") {
      return rebuild(arguments, std::nullopt, 6, made_at);
    }
    if (callable == "torch._utils._rebuild_tensor_v3") {
      const std::string_view dtype = global(arguments, 6, "dtype");
      const auto found = torch_dtype(dtype);
      if (!found) fail("has the dtype " + shown(dtype) + ", which is not a dtype");
      return rebuild(arguments, found, 7, made_at);
    }
    if (callable == kRebuildParameter) return inner(arguments);
    if (callable == "torch._utils._rebuild_parameter_with_state") {
      check_attributes(arguments, 3, made_at);
      return inner(arguments);
    }
    if (callable == kRebuildFromType) return of_type(arguments, made_at);
    fail("is made by " + shown(callable) + ", which is not read", kSaveAgain);
  }

  /// A parameter is its data, and whether it requires a gradient, which a fake score decides.
  StoredTensor inner(const PickleItems& arguments) {
    if (arguments.empty()) fail("is a parameter without data");
    auto tensor = find(arguments.front());
    if (!tensor) fail("is a parameter whose data is not a tensor");
    return *std::move(tensor);
  }

  /// A tensor with attributes of its own: those are left out.
  StoredTensor of_type(const PickleItems& arguments, uint32_t made_at) {
    const std::string_view rebuild = global(arguments, 0, "rebuild");
    const std::string_view type = global(arguments, 1, "type");
    const PickleItems& inner_arguments = tuple(arguments, 2, "arguments");
    if (!is_plain_class(type)) refuse_class(type, rebuild != kRebuildWrapper);
    check_attributes(arguments, 3, made_at);
    if (!is_rebuild(rebuild))
      fail("is made by " + shown(rebuild) + ", which does not make a tensor");
    return call(rebuild, inner_arguments, made_at);
  }

  [[noreturn]] void refuse_class(std::string_view name, bool has_plain_data) const {
    fail("is of the class " + shown(name) + ", a subclass of Tensor",
         remedy_for_tensor_class(name, has_plain_data));
  }

  StoredTensor rebuild(const PickleItems& arguments, std::optional<at::ScalarType> dtype,
                       size_t metadata, uint32_t made_at) {
    if (arguments.empty() || arguments[0].persistent_id() == nullptr) fail("has no storage");
    const TorchStorage storage = tensors_.storages_.find(arguments[0], name_);
    StoredTensor tensor;
    tensor.dtype = dtype.value_or(storage.dtype);
    if (!is_readable_dtype(tensor.dtype)) {
      fail(std::string("has the dtype ") + c10::toString(tensor.dtype), "save it in another dtype");
    }
    const auto offset = arguments.size() > 1 ? arguments[1].integer() : std::nullopt;
    if (!offset) fail("has no offset");
    tensor.sizes = numbers(arguments, 2, "sizes");
    tensor.strides = numbers(arguments, 3, "strides");
    tensor.memory = elements(tensor, storage, *offset);
    if (arguments.size() > metadata) read_metadata(arguments[metadata], made_at, tensor);
    if (tensor.negative && !can_be_negated(tensor.dtype)) {
      fail(std::string("is the negative of elements of the dtype ") + c10::toString(tensor.dtype),
           "save it in another dtype");
    }
    return tensor;
  }

  /// The bytes between a tensor's first element and its last.
  std::span<const std::byte> elements(StoredTensor& tensor, const TorchStorage& storage,
                                      int64_t offset) const {
    if (tensor.sizes.size() != tensor.strides.size()) {
      fail("has " + std::to_string(tensor.sizes.size()) + " sizes and " +
           std::to_string(tensor.strides.size()) + " strides");
    }
    const auto width = static_cast<int64_t>(c10::elementSize(tensor.dtype));
    const int64_t held = static_cast<int64_t>(storage.bytes.size()) / width;
    int64_t count = 1;
    int64_t extent = 1;
    auto row_major = row_major_strides(tensor.sizes);
    bool fits = row_major && offset >= 0 && offset <= held;
    for (size_t i = 0; i < tensor.sizes.size(); ++i) {
      int64_t reach = 0;
      fits = fits && tensor.strides[i] >= 0 &&
             !__builtin_mul_overflow(count, tensor.sizes[i], &count) &&
             !__builtin_mul_overflow(std::max<int64_t>(tensor.sizes[i] - 1, 0), tensor.strides[i],
                                     &reach) &&
             !__builtin_add_overflow(extent, reach, &extent);
    }
    if (fits && count == 0) {
      tensor.strides = *std::move(row_major);  // nothing lies at those of the file
      return {};
    }
    if (!fits || extent > held - offset) {
      fail("lies outside its storage, or its shape overflows: truncated or hostile");
    }
    if (count > std::max(held, kMaxExpandedElements)) {
      fail("repeats its elements " + std::to_string(count / held) + " times",
           "save it with .contiguous(), or leave it out");
    }
    return storage.bytes.subspan(static_cast<size_t>(offset * width),
                                 static_cast<size_t>(extent * width));
  }

  /// The entries of a dict as it was when the call was made, if there are any.
  const TorchDictEntries* entries(const PickleValue& value, uint32_t made_at) {
    if (value.is_none()) return nullptr;
    if (!TorchDicts::is_dict(value) || pickle_node(value)->changed_at > made_at) {
      fail("has attributes that torch.save does not write", kSaveAgain);
    }
    const TorchDictEntries& entries = tensors_.dicts_.entries(value);
    tensors_.budget_.charge_work(entries.entries.size(), kRebuilds);
    if (entries.odd_key != nullptr) fail("has attributes under keys that are no texts", kSaveAgain);
    return &entries;
  }

  /// torch takes a bit as set wherever it is named, whatever its value: torch.save names those that
  /// are set.
  void read_metadata(const PickleValue& value, uint32_t made_at, StoredTensor& tensor) {
    const TorchDictEntries* metadata = entries(value, made_at);
    if (metadata == nullptr) return;
    for (const auto& [key, bit] : metadata->entries) {
      const auto name = key->text();
      if (name != "conj" && name != "neg") continue;
      if (bit->boolean() != true) fail("has a bit " + std::string(*name) + " that is not True");
      if (name == "neg") tensor.negative = true;
      if (name == "conj") tensor.conjugate = true;
    }
    if (tensor.conjugate && !c10::isComplexType(tensor.dtype)) {
      fail(std::string("is the conjugate of elements of the dtype ") + c10::toString(tensor.dtype));
    }
  }

  /// What torch sets on a tensor: a dict, or one and another of slots. Attributes are left out, but
  /// for the one that would be its values.
  void check_attributes(const PickleItems& arguments, size_t index, uint32_t made_at) {
    if (index >= arguments.size()) return;
    const PickleItems* parts = arguments[index].tuple();
    if (parts == nullptr) return check_attribute_names(arguments[index], made_at);
    for (const PickleValue& part : *parts) check_attribute_names(part, made_at);
  }
  void check_attribute_names(const PickleValue& value, uint32_t made_at) {
    const TorchDictEntries* attributes = entries(value, made_at);
    if (attributes == nullptr) return;
    for (const auto& [key, attribute] : attributes->entries) {
      const auto name = key->text();
      if (name == "data") {
        fail("has the attribute data, which would change its values", kSaveAgain);
      }
    }
  }

  std::vector<int64_t> numbers(const PickleItems& arguments, size_t index, const char* what) const {
    const PickleItems& items = tuple(arguments, index, what);
    if (items.size() > kMaxDimensions) {
      fail("has " + std::to_string(items.size()) + " " + what + ", of which LibTorch takes " +
           std::to_string(kMaxDimensions));
    }
    std::vector<int64_t> result;
    for (const PickleValue& item : items) {
      const auto number = item.integer();
      if (!number) fail(std::string("has no ") + what);
      result.push_back(*number);
    }
    return result;
  }

  const PickleItems& tuple(const PickleItems& arguments, size_t index, const char* what) const {
    const PickleItems* found = index < arguments.size() ? arguments[index].tuple() : nullptr;
    if (found == nullptr) fail(std::string("has no ") + what);
    return *found;
  }
  std::string_view global(const PickleItems& arguments, size_t index, const char* what) const {
    const PickleGlobal* found = index < arguments.size() ? arguments[index].global() : nullptr;
    if (found == nullptr) fail(std::string("has no ") + what);
    return found->name;
  }

  [[noreturn]] void fail(
      const std::string& message,
      const std::string& remedy = "check that the file is whole and is what was meant") const {
    throw_teacher_error(tensors_.records_.file(), name_, message, remedy);
  }

  TorchTensors& tensors_;
  const std::string& name_;
};

TorchTensors::TorchTensors(const Pickle& pickle, const TorchRecords& records, ReadBudget& budget)
    : records_(records),
      budget_(budget),
      dicts_(budget),
      storages_(pickle.persistent_ids, records, budget) {
  for (const PickleObject* object : pickle.objects) {
    has_overwritten_ = has_overwritten_ || overwrites_elements(*object);
  }
}

/// By items that are set, or by the attributes real and imag. torch.save writes neither.
bool TorchTensors::overwrites_elements(const PickleObject& object) {
  if (!is_rebuild(object.callable) && !is_plain_class(object.callable)) return false;
  if (!object.pairs.empty() || !object.items.empty()) return true;
  if (object.arguments.size() < 4) return false;
  const auto sets_part = [&](const PickleValue& attributes) {
    if (!TorchDicts::is_dict(attributes)) return false;
    const auto& entries = dicts_.entries(attributes).entries;
    budget_.charge_work(entries.size(), kRebuilds);
    return std::any_of(entries.begin(), entries.end(), [](const auto& entry) {
      return entry.key->text() == "real" || entry.key->text() == "imag";
    });
  };
  const PickleValue& state = object.arguments[3];
  if (state.tuple() == nullptr) return sets_part(state);
  budget_.charge_work(state.tuple()->size(), kRebuilds);
  return std::any_of(state.tuple()->begin(), state.tuple()->end(), sets_part);
}

bool TorchTensors::is_tensor(const PickleValue& value) {
  const PickleObject* object = value.object();
  return object != nullptr && (is_rebuild(object->callable) || is_plain_class(object->callable));
}

std::optional<StoredTensor> TorchTensors::find(const PickleValue& value, const std::string& name) {
  return TorchTensorFinder(*this, name).find(value);
}

}  // namespace fakescore::detail
