#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/control/deadline.hpp"

namespace fakescore::detail {

/// Runs operations that may never return on a thread of its own, so that the caller can give up:
/// c10d's TCP client blocks without a deadline when its server is stopped, and a process group's
/// first broadcast when a peer is.
class SideThread {
 public:
  SideThread();
  /// Joins an idle thread. One that is stuck in an operation is left behind with what it uses.
  ~SideThread();
  SideThread(const SideThread&) = delete;
  SideThread& operator=(const SideThread&) = delete;

  /// Begins `job`, which must own everything it touches; the one before has ended.
  void start(std::function<void()> job);
  /// Whether the job ended within the time; rethrows what it threw.
  bool ended_within(std::chrono::milliseconds time);

  /// Runs `job` and returns whether it ended in time; rethrows what it threw. After a false no
  /// further job may be given. `waiting_for`, if any, is a deadline of the caller's that is looked
  /// at meanwhile, as it has to be each second.
  bool run(std::function<void()> job, std::chrono::milliseconds limit,
           Deadline* waiting_for = nullptr);

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::packaged_task<void()> job;
    bool stop = false;
  };
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
  std::future<void> running_;  // not valid where no job is
};

}  // namespace fakescore::detail
