#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "comm/control/side_thread.hpp"
#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// Calls `beat`, which must own everything that it touches, on a thread of its own each `interval`,
/// for the first time after one. Ends with the first beat that throws.
class Heartbeat : public OwnWork {
 public:
  Heartbeat(std::chrono::milliseconds interval, std::function<void()> beat);
  /// As `stop` does.
  ~Heartbeat() override;

  /// Returns false where a beat is stuck for longer than is waited for: it is left behind.
  bool stop() noexcept;

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    bool stop = false;
  };
  std::shared_ptr<Shared> shared_;
  SideThread thread_;
  bool is_running_ = true;
  bool has_ended_ = false;
};

/// One for a rank with this timeout; null where no thread can be had.
std::unique_ptr<Heartbeat> make_heartbeat(std::chrono::milliseconds timeout,
                                          std::function<void()> beat) noexcept;

}  // namespace fakescore::detail
