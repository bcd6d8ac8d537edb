// Entry points of the CUDA runtime: streams.
#include <cuda_runtime_api.h>

#include "runtime/context.hpp"
#include "runtime/device.hpp"
#include "runtime/entry_point.hpp"
#include "runtime/event.hpp"

namespace fakescore::emulation {
namespace {

cudaError_t create(cudaStream_t* handle, unsigned flags, int priority) {
  const auto kind =
      flags == cudaStreamNonBlocking ? Stream::Kind::kNonBlocking : Stream::Kind::kBlocking;
  return enter_context([&] {
    *handle = add_stream(device(current_device()).create_stream(kind, priority));
    return cudaSuccess;
  });
}

/// The default stream is a part of the current device's context.
void make_context_of_default(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) make_context(current_device());
}

/// Does `use(stream)` where the handle is one.
template <class Use>
cudaError_t with_stream(cudaStream_t handle, Use use) {
  return enter([&] {
    make_context_of_default(handle);
    const auto stream = find_stream(handle);
    return stream == nullptr ? cudaErrorInvalidResourceHandle : use(stream);
  });
}

}  // namespace
}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* handle) { return create(handle, cudaStreamDefault, 0); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  return create(handle, flags, 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int priority) {
  return create(handle, flags, priority);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return with_stream(handle, [&](const auto& stream) {
    if (stream->kind() == Stream::Kind::kDefault) return cudaErrorInvalidResourceHandle;
    remove_stream(handle);
    stream->close();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return with_stream(handle, [](const auto& stream) {
    return stream->last().is_reached() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return with_stream(handle, [](const auto& stream) {
    stream->last().wait();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned) {
  return with_stream(handle, [&](const auto& stream) {
    const auto event = find_event(event_handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    if (event->is_recorded()) submit(stream, {"", 0, nullptr, {event->place()}});
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  return with_stream(handle, [&](const auto& stream) {
    submit(stream, {"host function", 0, [=] { function(data); }, {}});
    return cudaSuccess;
  });
}

cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t callback, void* data,
                                  unsigned) {
  return with_stream(handle, [&](const auto& stream) {
    submit(stream, {"callback", 0, [=] { callback(handle, cudaSuccess, data); }, {}});
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  return with_stream(handle, [&](const auto& stream) {
    *priority = stream->priority();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  return with_stream(handle, [&](const auto& stream) {
    *flags =
        stream->kind() == Stream::Kind::kNonBlocking ? cudaStreamNonBlocking : cudaStreamDefault;
    return cudaSuccess;
  });
}

// Nothing is ever captured: cudaStreamBeginCapture is not emulated.

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  return enter_context([&] {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus* status,
                                     unsigned long long* id, cudaGraph_t*, const cudaGraphNode_t**,
                                     const cudaGraphEdgeData**, size_t* dependencies) {
  return enter([&] {
    *status = cudaStreamCaptureStatusNone;
    if (id != nullptr) *id = 0;
    if (dependencies != nullptr) *dependencies = 0;
    return cudaSuccess;
  });
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) {
  return enter_context([] { return cudaSuccess; });
}

}  // extern "C"
