#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

namespace fakescore::detail {

/// Bytes [begin, begin + size) of a 1-D uint8 tensor, which they share.
inline at::Tensor part(const at::Tensor& bytes, size_t begin, size_t size) {
  return bytes.narrow(0, static_cast<int64_t>(begin), static_cast<int64_t>(size));
}

/// What `stream` has been given so far, as an event.
inline c10::Event record_on(const c10::Stream& stream) {
  c10::Event event(stream.device_type());
  event.record(stream);
  return event;
}

}  // namespace fakescore::detail
