#include "fill/given_memory.hpp"

#include <ATen/EmptyTensor.h>

#include <string>

#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

bool lies_in_its_storage(const at::Tensor& tensor) {
  const size_t needed =
      at::detail::computeStorageNbytes(tensor.sizes(), tensor.strides(), tensor.itemsize(),
                                       static_cast<size_t>(tensor.storage_offset()));
  return tensor.numel() == 0 || needed <= tensor.storage().nbytes();
}

}  // namespace

void require_memory(const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& entry : tensors) {
    if (!entry.tensor.defined() || !entry.tensor.has_storage()) continue;
    if (lies_in_its_storage(entry.tensor)) continue;
    throw ConfigError(entry.name,
                      "needs more memory than the " +
                          std::to_string(entry.tensor.storage().nbytes()) + " bytes of its storage",
                      "gather the module's full tensors first");
  }
}

void require_device(const std::vector<NamedTensor>& tensors, at::Device device) {
  for (const NamedTensor& entry : tensors) {
    if (!entry.tensor.defined() || entry.tensor.device() == device) continue;
    throw ConfigError(
        entry.name,
        "is on " + entry.tensor.device().str() + ", but is to be filled on " + device.str(),
        "give tensors of one device, and FillOptions::device");
  }
}

}  // namespace fakescore::detail
