#include "emulation.hpp"

#include <chrono>
#include <string>
#include <utility>

#include "nccl/abort_delay.hpp"
#include "runtime/allocation_failures.hpp"
#include "runtime/broken_device.hpp"
#include "runtime/context.hpp"
#include "runtime/counters.hpp"
#include "runtime/current_operator.hpp"
#include "runtime/device.hpp"
#include "runtime/fatal.hpp"
#include "runtime/kernel_registry.hpp"
#include "runtime/timeline.hpp"

namespace fakescore::emulation {
namespace {

class ThisProcess final : public Emulation {
 public:
  void* host_address(const void* device_address) const override {
    return emulation::host_address(device_address);
  }

  void register_kernel(const void* stub, KernelBody body) override {
    kernel_registry().add_body(stub, std::move(body));
  }
  void register_kernel_by_name(const std::string& name, KernelBody body) override {
    kernel_registry().add_body(name, std::move(body));
  }

  void submit(CUstream_st* handle, std::string name, Task task) override {
    if (!device_is_broken()) make_context(current_device());
    const auto stream = find_stream(handle);
    if (stream == nullptr) fatal(name + " was submitted to a stream that does not exist");
    live_counters().kernel_launches += 1;
    emulation::submit(stream, {std::move(name), 0, std::move(task), {}});
  }

  std::string set_operator(std::string name) override {
    return std::exchange(current_operator(), std::move(name));
  }

  void fail_allocations(unsigned nth, unsigned count) override {
    allocation_failures().plan(nth, count);
  }
  void fail_pinned_allocations(unsigned nth, unsigned count) override {
    pinned_allocation_failures().plan(nth, count);
  }

  void break_device() override { device_is_broken() = true; }
  void set_abort_delay(std::chrono::milliseconds delay) override { abort_delay() = delay; }

  Counters counters() const override { return live_counters().snapshot(); }
  void reset_counters() override { live_counters().reset(); }

  std::vector<Operation> timeline() const override { return emulation::timeline().copy(); }
  void clear_timeline() override { emulation::timeline().clear(); }
};

}  // namespace
}  // namespace fakescore::emulation

/// The one name by which `attached()` finds this library.
extern "C" fakescore::emulation::Emulation* fakescore_emulation() {
  static fakescore::emulation::ThisProcess emulation;
  return &emulation;
}
