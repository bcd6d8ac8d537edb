// Stands in for the CUDA parts in a build without them.
#include "fakescore/error.hpp"
#include "fakescore/tensor/cuda.hpp"
#include "tensor/cuda/device_digest.hpp"

namespace fakescore {

bool has_cuda() noexcept { return false; }

void load_cuda() {
  throw ConfigError("device cuda", "this build has no CUDA",
                    "configure with FAKESCORE_CUDA=ON, which needs a CUDA toolkit");
}

c10::Device gpu_of_local_rank(int local_rank) noexcept {
  return {c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(local_rank)};
}

std::vector<Digest> detail::digest_device_tensors(const std::vector<at::Tensor>& tensors) {
  std::vector<Digest> digests;
  digests.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) digests.push_back(digest_tensor(tensor.cpu()));
  return digests;
}

}  // namespace fakescore
