#include "comm/control/heartbeat.hpp"

#include <algorithm>
#include <exception>
#include <utility>

namespace fakescore::detail {
namespace {

constexpr std::chrono::milliseconds kLastBeat{1500};
constexpr std::chrono::milliseconds kShortestInterval{1};
constexpr int kBeatsATimeout = 4;

}  // namespace

Heartbeat::Heartbeat(std::chrono::milliseconds interval, std::function<void()> beat)
    : shared_(std::make_shared<Shared>()) {
  thread_.start([shared = shared_, interval, beat = std::move(beat)] {
    std::unique_lock<std::mutex> lock(shared->mutex);
    while (!shared->changed.wait_for(lock, interval, [&] { return shared->stop; })) {
      lock.unlock();
      beat();
      lock.lock();
    }
  });
}

Heartbeat::~Heartbeat() { stop(); }

bool Heartbeat::stop() noexcept {
  if (!is_running_) return has_ended_;
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->changed.notify_all();
  is_running_ = false;
  try {
    has_ended_ = thread_.ended_within(kLastBeat);
  } catch (const std::exception&) {
    has_ended_ = true;  // the next call of the communicator finds out why the beat failed
  }
  return has_ended_;
}

std::unique_ptr<Heartbeat> make_heartbeat(std::chrono::milliseconds timeout,
                                          std::function<void()> beat) noexcept {
  try {
    return std::make_unique<Heartbeat>(std::max(timeout / kBeatsATimeout, kShortestInterval),
                                       std::move(beat));
  } catch (const std::exception&) {
    return nullptr;
  }
}

}  // namespace fakescore::detail
