#include "tensor/broken_device.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace fakescore::detail {

bool is_usable(at::Device device) noexcept {
  try {
    const c10::impl::VirtualGuardImpl streams(device.type());
    streams.queryStream(streams.getStream(device));
    return true;
  } catch (const c10::Error&) {
    return false;
  }
}

void keep_for_good(std::vector<at::Tensor> tensors) noexcept {
  for (at::Tensor& tensor : tensors) static_cast<void>(tensor.unsafeReleaseTensorImpl());
}

}  // namespace fakescore::detail
