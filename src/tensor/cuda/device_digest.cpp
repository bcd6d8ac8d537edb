#include "tensor/cuda/device_digest.hpp"

#include <ATen/Functions.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "tensor/cuda/digest_kernel.hpp"

namespace fakescore::detail {

std::vector<Digest> digest_device_tensors(const std::vector<at::Tensor>& tensors) {
  std::vector<Digest> digests(tensors.size());
  if (tensors.empty()) return digests;
  const at::Device device = tensors.front().device();
  const c10::cuda::CUDAGuard guard(device);
  const auto stream = c10::cuda::getCurrentCUDAStream(device.index());
  const auto rows = static_cast<int64_t>(tensors.size());
  // Two sums a tensor: the halves of a digest.
  at::Tensor sums = at::zeros({rows, 2}, at::TensorOptions().dtype(at::kLong).device(device));
  auto* row = static_cast<unsigned long long*>(sums.mutable_data_ptr());  // NOLINT: CUDA's type
  for (const at::Tensor& tensor : tensors) {
    const at::Tensor elements = row_major(tensor);
    C10_CUDA_CHECK(launch_digest(elements.const_data_ptr(), elements.nbytes(), row, stream));
    row += 2;
  }
  const at::Tensor on_host = sums.cpu();
  const auto* values = on_host.const_data_ptr<int64_t>();
  for (size_t i = 0; i < digests.size(); ++i) {
    digests[i] = digest_of_words(
        {static_cast<uint64_t>(values[2 * i]), static_cast<uint64_t>(values[2 * i + 1])},
        tensors[i].nbytes());
  }
  return digests;
}

}  // namespace fakescore::detail
