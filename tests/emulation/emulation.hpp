#pragma once

#include <dlfcn.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

struct CUstream_st;  // what a cudaStream_t points at

/// What a test may ask of the emulated devices, and do to them. It needs no library at link time:
/// the same program runs on a real device, where `attached()` is null.
namespace fakescore::emulation {

using Task = std::function<void()>;

struct LaunchShape {
  unsigned grid[3];
  unsigned block[3];
};

/// Stands in for a kernel: called at the launch, it copies the arguments while they are valid and
/// returns what the stream runs later.
using KernelBody = std::function<Task(const LaunchShape& shape, void** arguments)>;

/// Totals of this process since it started, or since `reset_counters`. Calls and bytes count when
/// they are submitted. What the emulation moves because it runs an operator of LibTorch on the CPU
/// does not count as copies.
struct Counters {
  uint64_t h2d_calls = 0, h2d_bytes = 0;
  uint64_t d2h_calls = 0, d2h_bytes = 0;
  uint64_t d2d_calls = 0, d2d_bytes = 0;
  uint64_t memset_calls = 0, memset_bytes = 0;
  uint64_t kernel_launches = 0;     ///< of kernels with a host body, and LibTorch's copy kernels
  uint64_t device_allocations = 0;  ///< successful cudaMalloc calls
  uint64_t device_bytes = 0, device_bytes_peak = 0;
  uint64_t pinned_allocations = 0;
  uint64_t pinned_bytes = 0, pinned_bytes_peak = 0;
  uint64_t nccl_launches = 0;  ///< groups, or single operations, one for each communicator
  uint64_t nccl_broadcast_calls = 0, nccl_broadcast_bytes = 0;
  uint64_t nccl_other_calls = 0, nccl_other_bytes = 0;
  uint64_t live_streams = 0, live_events = 0, live_communicators = 0;
  /// Devices of which this process has a primary context, hundreds of megabytes of each: CUDA makes
  /// it with the first call that needs one, on the device that is current.
  uint64_t contexts = 0;
};

/// One finished operation. Times are nanoseconds of CLOCK_MONOTONIC, which all processes of a host
/// share.
struct Operation {
  int device = 0;
  uint64_t stream = 0;  ///< 0 is the first device's default stream; numbers are never used again
  std::string name;
  uint64_t bytes = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

class Emulation {
 public:
  /// Where the host can read and write what `device_address` names; other addresses come back as
  /// they are.
  virtual void* host_address(const void* device_address) const = 0;

  /// Runs `body` for launches of the kernel whose host stub this is.
  virtual void register_kernel(const void* stub, KernelBody body) = 0;
  /// Runs `body` for launches of the kernel of this qualified name, such as "ns::kernel". It may be
  /// registered before the library that holds the kernel is loaded.
  virtual void register_kernel_by_name(const std::string& name, KernelBody body) = 0;

  /// Puts `task` on a stream of the current device, as the launch of a kernel would.
  virtual void submit(CUstream_st* stream, std::string name, Task task) = 0;

  /// Until it is called again, what the calling thread copies is part of the operator of this name,
  /// which on a device would copy nothing: not counted, and under this name in the timeline. Empty
  /// for none. Returns the name before.
  virtual std::string set_operator(std::string name) = 0;

  /// The `nth` next cudaMalloc (1 is the next one) and `count - 1` more after it fail as if the
  /// device were full. LibTorch's allocator frees its cache and tries again, so it takes 2 in a row
  /// to be seen.
  virtual void fail_allocations(unsigned nth, unsigned count) = 0;
  /// The same for cudaHostAlloc, as if no more memory could be locked.
  virtual void fail_pinned_allocations(unsigned nth, unsigned count) = 0;

  /// From now on, and for good, the devices of this process are as after an illegal access: all
  /// runtime calls but those that only look something up return cudaErrorIllegalAddress, NCCL's
  /// launches ncclUnhandledCudaError. What is on the streams is lost, and what runs of NCCL stops.
  virtual void break_device() = 0;

  /// From now on each ncclCommAbort of this process takes that much longer. What hangs is let go
  /// first, and the peers hear of it: the streams are free while the call still goes on.
  virtual void set_abort_delay(std::chrono::milliseconds delay) = 0;

  virtual Counters counters() const = 0;
  /// Sets calls and bytes to zero, peaks to what is held now.
  virtual void reset_counters() = 0;

  virtual std::vector<Operation> timeline() const = 0;
  virtual void clear_timeline() = 0;

 protected:
  ~Emulation() = default;
};

/// The emulation that this process runs on; null on a real device.
inline Emulation* attached() {
  using Entry = Emulation* (*)();
  static const auto entry = reinterpret_cast<Entry>(::dlsym(RTLD_DEFAULT, "fakescore_emulation"));
  return entry == nullptr ? nullptr : entry();
}

inline bool is_active() { return attached() != nullptr; }

namespace detail {

/// A launch's argument as the host body gets it.
template <class Value>
Value reachable(Value value) {
  if constexpr (std::is_pointer_v<Value>) {
    return static_cast<Value>(attached()->host_address(
        const_cast<const void*>(static_cast<const volatile void*>(value))));
  } else {
    return value;
  }
}

template <class... Arguments, size_t... Index>
std::tuple<Arguments...> copy_arguments(void** arguments, std::index_sequence<Index...>) {
  return {*static_cast<Arguments*>(arguments[Index])...};
}

}  // namespace detail

/// Makes a KernelBody of `body(shape, arguments...)`, which runs once a launch. Pointers among the
/// arguments arrive as addresses the host can use; pointers inside structures do not.
template <class... Arguments, class Body>
KernelBody kernel_body(Body body) {
  return [body](const LaunchShape& shape, void** arguments) -> Task {
    return [body, shape,
            copied = detail::copy_arguments<Arguments...>(
                arguments, std::index_sequence_for<Arguments...>())] {
      std::apply([&](const auto&... values) { body(shape, detail::reachable(values)...); }, copied);
    };
  };
}

/// Registers `body(shape, arguments...)` for `kernel`; nothing on a real device.
template <class... Arguments, class Body>
void run_on_host(void (*kernel)(Arguments...), Body body) {
  if (!is_active()) return;
  attached()->register_kernel(reinterpret_cast<const void*>(kernel),
                              kernel_body<std::remove_cv_t<Arguments>...>(std::move(body)));
}

}  // namespace fakescore::emulation
