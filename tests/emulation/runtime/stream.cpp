#include "runtime/stream.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "runtime/broken_device.hpp"
#include "runtime/counters.hpp"
#include "runtime/device.hpp"
#include "runtime/settings.hpp"
#include "runtime/timeline.hpp"

namespace fakescore::emulation {
namespace {

std::atomic<bool> process_ending{false};
std::atomic<int> running{0};

/// A host function may never return, so this does not wait for ever.
void stop_streams() {
  constexpr int kTries = 2000;
  process_ending = true;
  for (int i = 0; i < kTries && running != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

/// Registered with the first thread, so that it runs before the libraries' own destructors.
void stop_streams_at_exit() {
  static const int registered = std::atexit(stop_streams);
  static_cast<void>(registered);
}

uint64_t next_number() {
  static std::atomic<uint64_t> next{0};
  return next++;
}

}  // namespace

bool is_process_ending() { return process_ending; }

bool Ticket::is_reached() const {
  if (stream == nullptr) return true;
  const std::lock_guard<std::mutex> lock(stream->mutex_);
  return stream->finished_ >= number;
}

void Ticket::wait() const {
  constexpr std::chrono::milliseconds kLookUp{100};
  if (stream == nullptr) return;
  std::unique_lock<std::mutex> lock(stream->mutex_);
  while (!is_process_ending() && stream->finished_ < number) {
    stream->changed_.wait_for(lock, kLookUp);
  }
}

std::shared_ptr<Stream> Stream::create(int device, Kind kind, int priority) {
  return std::make_shared<Stream>(device, kind, priority);
}

Stream::Stream(int device, Kind kind, int priority)
    : device_(device),
      kind_(kind),
      priority_(priority),
      number_(next_number()),
      delays_(mix(settings().seed, number_), settings().delay_us) {
  live_counters().streams += 1;
}

Stream::~Stream() { live_counters().streams -= 1; }

Ticket Stream::push(Work work) {
  const std::lock_guard<std::mutex> lock(mutex_);
  queue_.push_back(std::move(work));
  if (!started_) {
    started_ = true;
    stop_streams_at_exit();
    std::thread([self = shared_from_this()] { self->run_all(); }).detach();
  }
  changed_.notify_all();
  return {shared_from_this(), ++pushed_};
}

Ticket Stream::last() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {shared_from_this(), pushed_};
}

void Stream::close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void Stream::run_all() {
  current_device() = device_;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closed_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Work work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    run_one(std::move(work));
    lock.lock();
    ++finished_;
    changed_.notify_all();
  }
}

void Stream::run_one(Work work) {
  for (const Ticket& ticket : work.after) ticket.wait();
  if (!work.name.empty()) {
    std::this_thread::sleep_for(std::chrono::microseconds(delays_.next_us()));
  }
  ++running;
  while (is_process_ending()) {
    --running;
    for (;;) ::pause();
  }
  const int64_t begin = monotonic_ns();
  const bool is_lost = device_is_broken() && !work.name.empty();
  if (work.run && !is_lost) work.run();
  if (!work.name.empty() && !is_lost) {
    timeline().add({device_, number_, std::move(work.name), work.bytes, begin, monotonic_ns()});
  }
  work.run = nullptr;  // what it holds is free before anybody hears that it is done
  --running;
}

}  // namespace fakescore::emulation
