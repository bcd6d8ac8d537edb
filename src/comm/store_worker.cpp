#include "comm/store_worker.hpp"

#include <algorithm>
#include <utility>

#include "comm/deadline.hpp"

namespace fakescore::detail {
namespace {

constexpr std::chrono::milliseconds kLook{100};

}  // namespace

StoreWorker::StoreWorker() : shared_(std::make_shared<Shared>()) {
  thread_ = std::thread([shared = shared_] {
    for (;;) {
      std::unique_lock<std::mutex> lock(shared->mutex);
      shared->changed.wait(lock, [&] { return shared->stop || shared->job.valid(); });
      if (!shared->job.valid()) return;
      std::packaged_task<void()> job = std::move(shared->job);
      lock.unlock();
      job();
    }
  });
}

StoreWorker::~StoreWorker() {
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->changed.notify_all();
  if (stuck_) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

bool StoreWorker::run(std::function<void()> job, std::chrono::milliseconds limit) {
  std::packaged_task<void()> task(std::move(job));
  std::future<void> done = task.get_future();
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->job = std::move(task);
  }
  shared_->changed.notify_all();
  Deadline deadline(limit);
  while (done.wait_for(std::min(limit, kLook)) != std::future_status::ready) {
    if (!deadline.passed()) continue;
    stuck_ = true;
    return false;
  }
  done.get();
  return true;
}

}  // namespace fakescore::detail
