#include "comm/control/side_thread.hpp"

#include <algorithm>
#include <utility>

namespace fakescore::detail {
namespace {

constexpr std::chrono::milliseconds kLook{100};

}  // namespace

SideThread::SideThread() : shared_(std::make_shared<Shared>()) {
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

SideThread::~SideThread() {
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->changed.notify_all();
  if (running_.valid()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void SideThread::start(std::function<void()> job) {
  std::packaged_task<void()> task(std::move(job));
  running_ = task.get_future();
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->job = std::move(task);
  }
  shared_->changed.notify_all();
}

bool SideThread::ended_within(std::chrono::milliseconds time) {
  if (running_.wait_for(time) != std::future_status::ready) return false;
  std::exchange(running_, {}).get();
  return true;
}

bool SideThread::run(std::function<void()> job, std::chrono::milliseconds limit,
                     Deadline* waiting_for) {
  start(std::move(job));
  Deadline deadline(limit);
  while (!ended_within(std::min(limit, kLook))) {
    if (waiting_for != nullptr) waiting_for->left();
    if (deadline.passed()) return false;
  }
  return true;
}

}  // namespace fakescore::detail
