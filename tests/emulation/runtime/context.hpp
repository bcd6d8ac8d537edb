#pragma once

#include "runtime/device.hpp"
#include "runtime/entry_point.hpp"

namespace fakescore::emulation {

/// Whether this process has a primary context of the device: hundreds of megabytes on a real one.
bool has_context(int device);
/// CUDA makes it with the first call that needs one, and keeps it.
void make_context(int device);

/// `enter` for a call that needs a context of the calling thread's current device, even where what
/// it is given belongs to another device.
template <class Call>
cudaError_t enter_context(Call call) {
  return enter([&] {
    make_context(current_device());
    return call();
  });
}

}  // namespace fakescore::emulation
