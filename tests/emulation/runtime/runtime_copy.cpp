// Entry points of the CUDA runtime: copying and filling. When a call returns to the host is what
// the CUDA manual says under "API synchronization behavior".
#include <cuda_runtime_api.h>

#include <cstring>
#include <memory>
#include <optional>
#include <sstream>
#include <vector>

#include "runtime/context.hpp"
#include "runtime/counters.hpp"
#include "runtime/current_operator.hpp"
#include "runtime/device.hpp"
#include "runtime/entry_point.hpp"
#include "runtime/fatal.hpp"
#include "runtime/pinned_memory.hpp"

namespace fakescore::emulation {
namespace {

enum class Side { kDevice, kPinned, kPageable };

struct Place {
  Side side;
  char* bytes;  ///< where the host reaches them

  bool on_device() const { return side == Side::kDevice; }
};

/// Nothing where the range lies partly outside what was allocated or registered.
std::optional<Place> locate(const void* address, size_t bytes) {
  if (Device* const owner = device_of(address)) {
    if (!owner->memory().holds(address, bytes)) return std::nullopt;
    return Place{Side::kDevice, owner->memory().shadow(address)};
  }
  auto* const host = static_cast<char*>(const_cast<void*>(address));
  switch (pinned_memory().overlap(address, bytes)) {
    case PinnedMemory::Overlap::kInside:
      return Place{Side::kPinned, host};
    case PinnedMemory::Overlap::kNone:
      return Place{Side::kPageable, host};
    case PinnedMemory::Overlap::kPartly:
      return std::nullopt;
  }
  return std::nullopt;
}

struct Copy {
  Place to;
  Place from;
  size_t bytes;

  const char* name() const {
    if (to.on_device()) return from.on_device() ? "copy d2d" : "copy h2d";
    return from.on_device() ? "copy d2h" : "copy h2h";
  }
  bool is_kind(cudaMemcpyKind kind) const {
    switch (kind) {
      case cudaMemcpyDefault:
        return true;
      case cudaMemcpyHostToDevice:
        return to.on_device() && !from.on_device();
      case cudaMemcpyDeviceToHost:
        return !to.on_device() && from.on_device();
      case cudaMemcpyDeviceToDevice:
        return to.on_device() && from.on_device();
      case cudaMemcpyHostToHost:
        return !to.on_device() && !from.on_device();
    }
    return false;
  }
  void count() const {
    LiveCounters& counters = live_counters();
    if (to.on_device()) {
      (from.on_device() ? counters.d2d : counters.h2d).add(bytes);
    } else if (from.on_device()) {
      counters.d2h.add(bytes);
    }
  }
};

std::optional<Copy> plan(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const auto target = locate(to, bytes);
  const auto source = locate(from, bytes);
  std::ostringstream text;
  text << "copy of " << bytes << " bytes from " << from << " to " << to;
  if (!target || !source) {
    complain(text.str() + " reaches outside a live allocation");
    return std::nullopt;
  }
  const Copy copy{*target, *source, bytes};
  if (!copy.is_kind(kind)) {
    complain(text.str() + " is a " + copy.name() + ", which is not the direction it was given");
    return std::nullopt;
  }
  return copy;
}

Ticket start(const std::shared_ptr<Stream>& stream, const Copy& copy) {
  const bool is_of_operator = !current_operator().empty();
  if (!is_of_operator) copy.count();
  Work work{is_of_operator ? current_operator() : copy.name(), copy.bytes, nullptr, {}};
  if (copy.from.side == Side::kPageable) {
    // Staged before the call returns: the caller may reuse its buffer at once.
    auto staged =
        std::make_shared<std::vector<char>>(copy.from.bytes, copy.from.bytes + copy.bytes);
    work.run = [copy, staged] { std::memcpy(copy.to.bytes, staged->data(), copy.bytes); };
  } else {
    work.run = [copy] { std::memmove(copy.to.bytes, copy.from.bytes, copy.bytes); };
  }
  return submit(stream, std::move(work));
}

cudaError_t copy_async(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                       cudaStream_t handle) {
  const auto stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  const auto copy = plan(to, from, bytes, kind);
  if (!copy) return cudaErrorInvalidValue;
  const Ticket done = start(stream, *copy);
  const bool between_hosts = !copy->to.on_device() && !copy->from.on_device();
  if (copy->to.side == Side::kPageable || between_hosts) done.wait();
  return cudaSuccess;
}

cudaError_t copy_and_wait(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return cudaSuccess;
  const auto copy = plan(to, from, bytes, kind);
  if (!copy) return cudaErrorInvalidValue;
  const auto stream = find_stream(nullptr);
  const bool on_device = copy->to.on_device() && copy->from.on_device();
  const bool staged = copy->to.on_device() && copy->from.side == Side::kPageable;
  // What comes from pageable memory is staged once the stream is idle; its way to the device, like
  // a copy on the device, may still be under way when the call returns.
  if (staged) stream->last().wait();
  const Ticket done = start(stream, *copy);
  if (!staged && !on_device) done.wait();
  return cudaSuccess;
}

cudaError_t fill_async(void* to, int value, size_t bytes, cudaStream_t handle) {
  const auto stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  const auto place = locate(to, bytes);
  if (!place || place->side == Side::kPageable) {
    complain("a fill reaches outside a live allocation");
    return cudaErrorInvalidValue;
  }
  live_counters().memset.add(bytes);
  char* const target = place->bytes;
  submit(stream,
         {"memset", bytes, [target, value, bytes] { std::memset(target, value, bytes); }, {}});
  return cudaSuccess;
}

}  // namespace
}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return enter_context([&] { return copy_async(to, from, bytes, kind, stream); });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return enter_context([&] { return copy_and_wait(to, from, bytes, kind); });
}

cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes,
                                cudaStream_t stream) {
  return enter_context(
      [&] { return copy_async(to, from, bytes, cudaMemcpyDeviceToDevice, stream); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return enter_context([&] { return fill_async(to, value, bytes, stream); });
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return enter_context([&] { return fill_async(to, value, bytes, nullptr); });
}

}  // extern "C"
