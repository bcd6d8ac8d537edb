#include "teacher/file/stored_tensor.hpp"

#include <ATen/ops/_neg_view.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string_view>
#include <utility>

#include "tensor/row_major.hpp"

namespace fakescore::detail {
namespace {

at::Tensor aligned_copy(const StoredTensor& tensor) {
  const auto width = static_cast<int64_t>(c10::elementSize(tensor.dtype));
  at::Tensor copy =
      at::empty({static_cast<int64_t>(tensor.memory.size()) / width}, at::dtype(tensor.dtype));
  std::memcpy(copy.mutable_data_ptr(), tensor.memory.data(), tensor.memory.size());
  return copy.as_strided(tensor.sizes, tensor.strides);
}

at::Tensor stored_elements(const StoredTensor& tensor, std::shared_ptr<const void> keep) {
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

bool is_row_major(const StoredTensor& tensor) {
  return !tensor.conjugate && !tensor.negative && is_row_major(tensor.sizes, tensor.strides);
}

at::Tensor read_stored_tensor(const StoredTensor& tensor, std::shared_ptr<const void> keep) {
  at::Tensor value = stored_elements(tensor, std::move(keep));
  if (tensor.conjugate) value = value.conj().resolve_conj();
  if (tensor.negative) value = at::_neg_view(value).resolve_neg();
  return value;
}

bool lies_before(const StoredTensor& a, const StoredTensor& b) {
  if (a.memory.data() != b.memory.data()) return std::less<>()(a.memory.data(), b.memory.data());
  return std::make_pair(a.memory.size(), std::string_view(a.name)) <
         std::make_pair(b.memory.size(), std::string_view(b.name));
}

const std::string* find_repeated_name(const std::vector<StoredTensor>& tensors) {
  std::vector<const std::string*> names;
  names.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) names.push_back(&tensor.name);
  std::sort(names.begin(), names.end(), [](auto* a, auto* b) { return *a < *b; });
  const auto twice =
      std::adjacent_find(names.begin(), names.end(), [](auto* a, auto* b) { return *a == *b; });
  return twice == names.end() ? nullptr : *twice;
}

}  // namespace fakescore::detail
