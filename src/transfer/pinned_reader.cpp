#include "transfer/pinned_reader.hpp"

#include <ATen/Functions.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <bit>

#include "tensor/broken_device.hpp"
#include "tensor/storage_bytes.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kLargestSlot = size_t{8} << 20;
constexpr size_t kFewestSlots = 4;

}  // namespace

PinnedReader::PinnedReader(size_t pinned_bytes, size_t threads, at::Device device)
    : device_(device),
      slot_bytes_(std::bit_floor(std::min(pinned_bytes / kFewestSlots, kLargestSlot))) {
  // One allocation whose size is a power of two: the allocator rounds others up.
  const size_t count = std::bit_floor(pinned_bytes / slot_bytes_);
  const at::Tensor memory = at::empty({static_cast<int64_t>(count * slot_bytes_)},
                                      at::TensorOptions().dtype(at::kByte).pinned_memory(true));
  for (size_t i = 0; i < count; ++i) {
    slots_.emplace_back();
    slots_.back().memory = part(memory, i * slot_bytes_, slot_bytes_);
  }
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { read(); });
}

PinnedReader::~PinnedReader() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  std::vector<at::Tensor> memory;
  for (Slot& slot : slots_) memory.push_back(std::move(slot.memory));
  if (!is_usable(device_)) {
    keep_for_good(std::move(memory));
    return;
  }
  for (const Slot& slot : slots_) {
    if (slot.used) slot.used->synchronize();
  }
}

void PinnedReader::submit(Job job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
}

at::Tensor PinnedReader::take() {
  std::unique_lock<std::mutex> lock(mutex_);
  Slot& slot = slots_[taken_++ % slots_.size()];
  changed_.wait(lock, [&] { return slot.filled; });
  if (slot.failure) std::rethrow_exception(slot.failure);
  return slot.memory;
}

void PinnedReader::release(c10::Event used) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    Slot& slot = slots_[released_++ % slots_.size()];
    slot.filled = false;
    slot.failure = nullptr;
    slot.used.emplace(std::move(used));
  }
  changed_.notify_all();
}

void PinnedReader::read() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(
        lock, [&] { return stop_ || (!jobs_.empty() && started_ < released_ + slots_.size()); });
    if (stop_) return;
    Slot& slot = slots_[started_++ % slots_.size()];
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    std::exception_ptr failure;
    try {
      // Events are destroyed on their device: else CUDA would make a context on the first GPU.
      const c10::DeviceGuard guard(device_);
      if (slot.used) slot.used->synchronize();
      slot.used.reset();
      job(static_cast<std::byte*>(slot.memory.mutable_data_ptr()));
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    slot.failure = failure;
    slot.filled = true;
    changed_.notify_all();
  }
}

}  // namespace fakescore::detail
