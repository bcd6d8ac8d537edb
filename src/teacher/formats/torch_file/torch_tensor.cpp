#include "teacher/formats/torch_file/torch_tensor.hpp"

#include <ATen/ops/_neg_view.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>

#include <cstring>
#include <utility>

namespace fakescore::detail {
namespace {

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

at::Tensor read_torch_tensor(const TorchTensor& tensor, std::shared_ptr<const void> keep) {
  at::Tensor value = stored_elements(tensor, std::move(keep));
  if (tensor.conjugate) value = value.conj().resolve_conj();
  if (tensor.negative) value = at::_neg_view(value).resolve_neg();
  return value;
}

}  // namespace fakescore::detail
