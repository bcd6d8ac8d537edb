#include "core/teacher/torch_file/torch_tensor.hpp"

#include <ATen/ops/_neg_view.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/teacher/file_text.hpp"
#include "core/teacher/teacher_error.hpp"
#include "core/teacher/torch_file/torch_globals.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kMaxDimensions = 64;
/// A tensor may hold an element many times (expand); one that grows beyond this by it is refused,
/// so that a small file cannot ask for any amount of memory.
constexpr int64_t kMaxExpandedElements = 1 << 24;

/// Rebuilds that make what has no plain elements, and what to call it.
constexpr std::array<std::pair<const char*, const char*>, 7> kUnreadable{{
    {"torch._utils._rebuild_qtensor", "is quantized"},
    {"torch._utils._rebuild_sparse_tensor", "is sparse"},
    {"torch._utils._rebuild_nested_tensor", "is a nested tensor"},
    {"torch._utils._rebuild_wrapper_subclass", "is of a subclass of Tensor"},
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

/// What a storage's persistent id says, and its bytes.
struct Storage {
  at::ScalarType dtype;
  std::span<const std::byte> bytes;
};

class TensorFinder {
 public:
  TensorFinder(const TorchRecords& records, const std::string& name)
      : records_(records), name_(name) {}

  std::optional<TorchTensor> find(const PickleValue& value) const {
    const auto* reduced = value.as<PickleReduced>();
    if (reduced == nullptr) return std::nullopt;
    return call(reduced->object->callable, reduced->object->arguments);
  }

 private:
  std::optional<TorchTensor> call(const std::string& callable, const PickleItems& arguments) const {
    for (const auto& [rebuild, reason] : kUnreadable) {
      if (callable == rebuild) {
        fail(reason, "save it as a plain tensor: dequantize(), to_dense(), cpu()");
      }
    }
    if (callable == "torch._utils._rebuild_tensor" ||
        callable == "torch._utils._rebuild_tensor_v2") {
      return rebuild(arguments, std::nullopt, 6);
    }
    if (callable == "torch._utils._rebuild_tensor_v3") {
      const auto* dtype = argument<PickleGlobal>(arguments, 6, "dtype");
      const auto found = torch_dtype(dtype->name);
      if (!found) fail("has the dtype " + shown(dtype->name) + ", which is none");
      return rebuild(arguments, found, 7);
    }
    if (callable.starts_with("torch._utils._rebuild_parameter")) return inner(arguments);
    if (callable == "torch._tensor._rebuild_from_type_v2") return of_type(arguments);
    return std::nullopt;
  }

  /// A parameter is its data, and whether it requires a gradient, which a fake score decides.
  TorchTensor inner(const PickleItems& arguments) const {
    if (arguments.empty()) fail("is a parameter without data");
    const auto tensor = find(arguments.front());
    if (!tensor) fail("is a parameter whose data is no tensor");
    return *tensor;
  }

  /// A tensor with attributes of its own: those are left out.
  TorchTensor of_type(const PickleItems& arguments) const {
    const auto* rebuild = argument<PickleGlobal>(arguments, 0, "rebuild");
    const auto* type = argument<PickleGlobal>(arguments, 1, "type");
    const auto* inner_arguments = argument<PickleTuple>(arguments, 2, "arguments");
    if (type->name != "torch.Tensor" && !type->name.starts_with("torch.nn.parameter.")) {
      fail("is of the class " + shown(type->name), "save it as a plain tensor");
    }
    const auto tensor = call(rebuild->name, *inner_arguments->items);
    if (!tensor) fail("is made by " + shown(rebuild->name) + ", which makes no tensor");
    return *tensor;
  }

  TorchTensor rebuild(const PickleItems& arguments, std::optional<at::ScalarType> dtype,
                      size_t metadata) const {
    const Storage storage = storage_of(argument<PicklePersistentId>(arguments, 0, "storage")->id);
    TorchTensor tensor;
    tensor.dtype = dtype.value_or(storage.dtype);
    if (!is_readable_dtype(tensor.dtype)) {
      fail(std::string("has the dtype ") + c10::toString(tensor.dtype), "save it in another dtype");
    }
    const int64_t offset = *argument<int64_t>(arguments, 1, "offset");
    tensor.sizes = numbers(arguments, 2, "sizes");
    tensor.strides = numbers(arguments, 3, "strides");
    tensor.memory = elements(tensor, storage, offset);
    if (arguments.size() > metadata) read_metadata(arguments[metadata], tensor);
    if (tensor.negative && !can_be_negated(tensor.dtype)) {
      fail(std::string("is the negative of elements of the dtype ") + c10::toString(tensor.dtype),
           "save it in another dtype");
    }
    return tensor;
  }

  /// ("storage", class, record, device, number of elements)
  Storage storage_of(const std::shared_ptr<PickleValue>& id) const {
    const auto* fields = id->as<PickleTuple>();
    if (fields == nullptr) fail("has no storage");
    const auto* kind = argument<std::string>(*fields->items, 0, "kind of storage");
    const auto* type = argument<PickleGlobal>(*fields->items, 1, "class of storage");
    const auto* record = argument<std::string>(*fields->items, 2, "storage's record");
    const int64_t count = *argument<int64_t>(*fields->items, 4, "storage's size");
    const auto dtype = torch_storage_dtype(type->name);
    if (*kind != "storage" || !dtype) fail("has a storage of the class " + shown(type->name));
    const auto bytes = records_.get("data/" + *record, shown(name_));
    int64_t wanted = 0;
    if (count < 0 || __builtin_mul_overflow(count, c10::elementSize(*dtype), &wanted) ||
        static_cast<uint64_t>(wanted) > bytes.size()) {
      fail("has a storage of " + std::to_string(count) + " elements, but its record has " +
           std::to_string(bytes.size()) + " bytes: truncated or hostile");
    }
    return {*dtype, bytes.first(static_cast<size_t>(wanted))};
  }

  /// The bytes between a tensor's first element and its last.
  std::span<const std::byte> elements(const TorchTensor& tensor, const Storage& storage,
                                      int64_t offset) const {
    if (tensor.sizes.size() != tensor.strides.size() || tensor.sizes.size() > kMaxDimensions) {
      fail("has " + std::to_string(tensor.sizes.size()) + " sizes and " +
           std::to_string(tensor.strides.size()) + " strides");
    }
    const auto width = static_cast<int64_t>(c10::elementSize(tensor.dtype));
    const int64_t held = static_cast<int64_t>(storage.bytes.size()) / width;
    int64_t count = 1;
    int64_t extent = 1;
    bool fits = offset >= 0 && offset <= held;
    for (size_t i = 0; i < tensor.sizes.size(); ++i) {
      int64_t reach = 0;
      fits = fits && tensor.sizes[i] >= 0 && tensor.strides[i] >= 0 &&
             !__builtin_mul_overflow(count, tensor.sizes[i], &count) &&
             !__builtin_mul_overflow(std::max<int64_t>(tensor.sizes[i] - 1, 0), tensor.strides[i],
                                     &reach) &&
             !__builtin_add_overflow(extent, reach, &extent);
    }
    if (fits && count == 0) return {};
    if (!fits || extent > held - offset) fail("lies outside its storage: truncated or hostile");
    if (count > std::max(held, kMaxExpandedElements)) {
      fail("repeats its elements " + std::to_string(count / held) + " times",
           "save it with .contiguous(), or leave it out");
    }
    return storage.bytes.subspan(static_cast<size_t>(offset * width),
                                 static_cast<size_t>(extent * width));
  }

  void read_metadata(const PickleValue& value, TorchTensor& tensor) const {
    const auto* metadata = value.as<PickleDict>();
    if (metadata == nullptr) return;
    for (const auto& [key, bit] : *metadata->pairs) {
      const auto* name = key.as<std::string>();
      const bool set = bit.as<bool>() != nullptr && *bit.as<bool>();
      if (name == nullptr) continue;
      if (*name == "conj") tensor.conjugate = set && c10::isComplexType(tensor.dtype);
      if (*name == "neg") tensor.negative = set;
    }
  }

  std::vector<int64_t> numbers(const PickleItems& arguments, size_t index, const char* what) const {
    std::vector<int64_t> result;
    for (const PickleValue& item : *argument<PickleTuple>(arguments, index, what)->items) {
      if (item.as<int64_t>() == nullptr) fail(std::string("has no ") + what);
      result.push_back(*item.as<int64_t>());
    }
    return result;
  }

  template <typename Expected>
  const Expected* argument(const PickleItems& arguments, size_t index, const char* what) const {
    const Expected* found = index < arguments.size() ? arguments[index].as<Expected>() : nullptr;
    if (found == nullptr) fail(std::string("has no ") + what);
    return found;
  }

  [[noreturn]] void fail(
      const std::string& message,
      const std::string& remedy = "check that the file is whole and is what was meant") const {
    throw_teacher_error(records_.file(), shown(name_), message, remedy);
  }

  const TorchRecords& records_;
  const std::string& name_;
};

at::Tensor aligned_copy(const TorchTensor& tensor) {
  const auto width = static_cast<int64_t>(c10::elementSize(tensor.dtype));
  at::Tensor copy =
      at::empty({static_cast<int64_t>(tensor.memory.size()) / width}, at::dtype(tensor.dtype));
  std::memcpy(copy.mutable_data_ptr(), tensor.memory.data(), tensor.memory.size());
  return copy.as_strided(tensor.sizes, tensor.strides);
}

at::Tensor stored_elements(const TorchTensor& tensor, std::shared_ptr<const void> keep) {
  const auto options = at::dtype(tensor.dtype);
  if (tensor.memory.empty()) return at::empty_strided(tensor.sizes, tensor.strides, options);
  auto* data = const_cast<std::byte*>(tensor.memory.data());
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(tensor.dtype) != 0) {
    return aligned_copy(tensor);
  }
  return at::from_blob(
      data, tensor.sizes, tensor.strides, [keep = std::move(keep)](void*) {}, options);
}

}  // namespace

std::optional<TorchTensor> find_torch_tensor(const PickleValue& value, const TorchRecords& records,
                                             const std::string& name) {
  return TensorFinder(records, name).find(value);
}

at::Tensor read_torch_tensor(const TorchTensor& tensor, std::shared_ptr<const void> keep) {
  at::Tensor value = stored_elements(tensor, std::move(keep));
  if (tensor.conjugate) value = value.conj().resolve_conj();
  if (tensor.negative) value = at::_neg_view(value).resolve_neg();
  return value;
}

}  // namespace fakescore::detail
