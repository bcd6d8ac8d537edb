#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "runtime/stream.hpp"

namespace fakescore::emulation {

/// Remembers a place in a stream; what waits for it afterwards waits for the place of the latest
/// record, however often it is recorded again.
class Event {
 public:
  Event(int device, bool has_time);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const std::shared_ptr<Stream>& stream);
  Ticket place() const;
  bool is_recorded() const { return place().stream != nullptr; }
  int64_t time_ns() const;  ///< when the latest record was reached

  int device() const { return device_; }
  bool has_time() const { return has_time_; }

 private:
  const int device_;
  const bool has_time_;
  mutable std::mutex mutex_;
  Ticket place_;
  std::shared_ptr<std::atomic<int64_t>> time_ns_;
};

/// Events by handle; an unknown handle finds null.
std::shared_ptr<Event> find_event(cudaEvent_t handle);
cudaEvent_t add_event(std::shared_ptr<Event> event);
void remove_event(cudaEvent_t handle);

}  // namespace fakescore::emulation
