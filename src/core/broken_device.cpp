#include "core/broken_device.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>
#include <utility>

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
  static_cast<void>(std::make_unique<std::vector<at::Tensor>>(std::move(tensors)).release());
}

}  // namespace fakescore::detail
