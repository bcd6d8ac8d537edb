#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace fakescore::detail {

/// Fills pinned host memory by threads of its own, ahead of the thread that copies it to a device:
/// page faults and disk reads then overlap with copies. The memory is a ring of slots; jobs take
/// them in turn and are handed out in the order in which they were submitted.
///
/// One thread submits, takes and releases.
class PinnedReader {
 public:
  /// Writes its bytes into the slot that it is given.
  using Job = std::function<void(std::byte* slot)>;

  /// At most `pinned_bytes` of pinned memory, in slots of at most 8 MiB, for `device`. Throws where
  /// it cannot be had.
  PinnedReader(size_t pinned_bytes, size_t threads, at::Device device);
  ~PinnedReader();
  PinnedReader(const PinnedReader&) = delete;
  PinnedReader& operator=(const PinnedReader&) = delete;

  size_t slot_bytes() const noexcept { return slot_bytes_; }

  void submit(Job job);
  /// The slot of the oldest job not taken yet, as 1-D uint8, once it is filled. Throws what the job
  /// threw; the slot must be released all the same.
  at::Tensor take();
  /// Lets the slot taken last be filled again once `used` has happened.
  void release(c10::Event used);

 private:
  struct Slot {
    at::Tensor memory;
    std::optional<c10::Event> used;
    std::exception_ptr failure;
    bool filled = false;
  };

  void read();

  at::Device device_;
  size_t slot_bytes_;
  std::mutex mutex_;  // guards all that follows
  std::condition_variable changed_;
  std::deque<Slot> slots_;
  std::deque<Job> jobs_;
  size_t started_ = 0;  // jobs that a thread has begun
  size_t taken_ = 0;
  size_t released_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fakescore::detail
