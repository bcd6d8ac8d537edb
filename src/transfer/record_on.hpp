#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

namespace fakescore::detail {

/// What `stream` has been given so far, as an event.
inline c10::Event record_on(const c10::Stream& stream) {
  c10::Event event(stream.device_type());
  event.record(stream);
  return event;
}

}  // namespace fakescore::detail
