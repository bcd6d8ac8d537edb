#include "runtime/event.hpp"

#include <unordered_map>
#include <utility>

#include "runtime/counters.hpp"
#include "runtime/device.hpp"
#include "runtime/timeline.hpp"

namespace fakescore::emulation {
namespace {

struct EventTable {
  std::mutex mutex;
  std::unordered_map<cudaEvent_t, std::shared_ptr<Event>> events;
};

EventTable& event_table() {
  static auto* const table = new EventTable;
  return *table;
}

}  // namespace

Event::Event(int device, bool has_time) : device_(device), has_time_(has_time) {
  live_counters().events += 1;
}

Event::~Event() { live_counters().events -= 1; }

void Event::record(const std::shared_ptr<Stream>& stream) {
  auto time = std::make_shared<std::atomic<int64_t>>(0);
  Work work;
  work.run = [time] { *time = monotonic_ns(); };
  const Ticket place = submit(stream, std::move(work));
  const std::lock_guard<std::mutex> lock(mutex_);
  place_ = place;
  time_ns_ = std::move(time);
}

Ticket Event::place() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return place_;
}

int64_t Event::time_ns() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return time_ns_ == nullptr ? 0 : time_ns_->load();
}

std::shared_ptr<Event> find_event(cudaEvent_t handle) {
  const std::lock_guard<std::mutex> lock(event_table().mutex);
  const auto found = event_table().events.find(handle);
  return found == event_table().events.end() ? nullptr : found->second;
}

cudaEvent_t add_event(std::shared_ptr<Event> event) {
  const auto handle = reinterpret_cast<cudaEvent_t>(event.get());
  const std::lock_guard<std::mutex> lock(event_table().mutex);
  event_table().events[handle] = std::move(event);
  return handle;
}

void remove_event(cudaEvent_t handle) {
  const std::lock_guard<std::mutex> lock(event_table().mutex);
  event_table().events.erase(handle);
}

}  // namespace fakescore::emulation
