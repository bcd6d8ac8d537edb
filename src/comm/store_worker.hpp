#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

namespace fakescore::detail {

/// Runs store operations on a thread of its own. c10d's TCP client blocks without a deadline when
/// its server is stopped, so the caller waits here, where it can give up.
class StoreWorker {
 public:
  StoreWorker();
  /// Joins an idle worker. One that is stuck in an operation is left behind with what it uses.
  ~StoreWorker();
  StoreWorker(const StoreWorker&) = delete;
  StoreWorker& operator=(const StoreWorker&) = delete;

  /// Runs `job` and returns whether it ended in time; rethrows what it threw. After a false no
  /// further job may be given. The job must own everything it touches.
  bool run(std::function<void()> job, std::chrono::milliseconds limit);

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::packaged_task<void()> job;
    bool stop = false;
  };
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
  bool stuck_ = false;
};

}  // namespace fakescore::detail
