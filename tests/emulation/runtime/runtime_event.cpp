// Entry points of the CUDA runtime: events.
#include <cuda_runtime_api.h>

#include "runtime/context.hpp"
#include "runtime/device.hpp"
#include "runtime/entry_point.hpp"
#include "runtime/event.hpp"

namespace fakescore::emulation {
namespace {

/// Does `use(event)` where the handle is one.
template <class Use>
cudaError_t use_event(cudaEvent_t handle, Use use) {
  const auto event = find_event(handle);
  return event == nullptr ? cudaErrorInvalidResourceHandle : use(*event);
}

/// To ask an event needs no context of the current device.
template <class Use>
cudaError_t ask_event(cudaEvent_t handle, Use use) {
  return enter([&] { return use_event(handle, use); });
}

template <class Use>
cudaError_t with_event(cudaEvent_t handle, Use use) {
  return enter_context([&] { return use_event(handle, use); });
}

bool has_time(const std::shared_ptr<Event>& event) {
  return event != nullptr && event->has_time() && event->is_recorded();
}

cudaError_t elapsed(float* milliseconds, const std::shared_ptr<Event>& first,
                    const std::shared_ptr<Event>& last) {
  if (!has_time(first) || !has_time(last)) return cudaErrorInvalidResourceHandle;
  if (!first->place().is_reached() || !last->place().is_reached()) return cudaErrorNotReady;
  *milliseconds = static_cast<float>(static_cast<double>(last->time_ns() - first->time_ns()) / 1e6);
  return cudaSuccess;
}

}  // namespace
}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* handle, unsigned flags) {
  return enter_context([&] {
    const bool has_time = (flags & cudaEventDisableTiming) == 0;
    *handle = add_event(std::make_shared<Event>(current_device(), has_time));
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* handle) {
  return cudaEventCreateWithFlags(handle, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return with_event(handle, [&](Event&) {
    remove_event(handle);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  return with_event(handle, [&](Event& event) {
    const auto stream = find_stream(stream_handle);
    if (stream == nullptr || stream->device() != event.device()) {
      return cudaErrorInvalidResourceHandle;
    }
    event.record(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t stream, unsigned) {
  return cudaEventRecord(handle, stream);
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return ask_event(handle, [](Event& event) {
    return event.place().is_reached() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return ask_event(handle, [](Event& event) {
    event.place().wait();
    return cudaSuccess;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return enter([&] { return elapsed(milliseconds, find_event(from), find_event(to)); });
}

}  // extern "C"
