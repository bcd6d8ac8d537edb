#include "runtime/device.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "runtime/fatal.hpp"
#include "runtime/settings.hpp"

namespace fakescore::emulation {
namespace {

using Devices = std::vector<std::unique_ptr<Device>>;

const Devices& devices() {
  static const Devices* const devices = [] {
    auto* made = new Devices;
    for (const int on_host : settings().devices) {
      const int index = static_cast<int>(made->size());
      made->push_back(std::make_unique<Device>(index, on_host, settings().memory_bytes));
    }
    return made;
  }();
  return *devices;
}

struct StreamTable {
  std::mutex mutex;
  std::unordered_map<cudaStream_t, std::shared_ptr<Stream>> streams;
};

StreamTable& stream_table() {
  static auto* const table = new StreamTable;
  return *table;
}

}  // namespace

Device::Device(int index, int on_host, size_t capacity)
    : on_host_(on_host),
      memory_(index, capacity),
      default_stream_(Stream::create(index, Stream::Kind::kDefault, 0)) {
  streams_.push_back(default_stream_);
}

std::shared_ptr<Stream> Device::create_stream(Stream::Kind kind, int priority) {
  auto stream = Stream::create(default_stream_->device(), kind, priority);
  const std::lock_guard<std::mutex> lock(submitting_);
  streams_.erase(std::remove_if(streams_.begin(), streams_.end(),
                                [](const auto& known) { return known.expired(); }),
                 streams_.end());
  streams_.push_back(stream);
  return stream;
}

std::vector<std::shared_ptr<Stream>> Device::streams_alive() {
  std::vector<std::shared_ptr<Stream>> alive;
  for (const auto& known : streams_) {
    if (auto stream = known.lock()) alive.push_back(std::move(stream));
  }
  return alive;
}

Ticket Device::submit(const std::shared_ptr<Stream>& stream, Work work) {
  const std::lock_guard<std::mutex> lock(submitting_);
  switch (stream->kind()) {
    case Stream::Kind::kDefault:
      for (const auto& other : streams_alive()) {
        if (other->kind() == Stream::Kind::kBlocking) work.after.push_back(other->last());
      }
      break;
    case Stream::Kind::kBlocking:
      work.after.push_back(default_stream_->last());
      break;
    case Stream::Kind::kNonBlocking:
      break;
  }
  return stream->push(std::move(work));
}

void Device::synchronize() {
  std::vector<Ticket> tickets;
  {
    const std::lock_guard<std::mutex> lock(submitting_);
    for (const auto& stream : streams_alive()) tickets.push_back(stream->last());
  }
  for (const Ticket& ticket : tickets) ticket.wait();
}

int device_count() { return static_cast<int>(devices().size()); }

Device& device(int index) { return *devices().at(static_cast<size_t>(index)); }

int& current_device() {
  thread_local int current = 0;
  return current;
}

int device_index_of(const void* address) {
  for (int index = 0; index < device_count(); ++index) {
    if (device(index).memory().contains(address)) return index;
  }
  return -1;
}

Device* device_of(const void* address) {
  const int index = device_index_of(address);
  return index < 0 ? nullptr : &device(index);
}

void* host_address(const void* address) {
  Device* const owner = device_of(address);
  return owner == nullptr ? const_cast<void*>(address) : owner->memory().shadow(address);
}

std::shared_ptr<Stream> find_stream(cudaStream_t handle) {
  if (handle == cudaStreamPerThread) not_emulated("cudaStreamPerThread");
  if (handle == nullptr || handle == cudaStreamLegacy) {
    return device(current_device()).default_stream();
  }
  const std::lock_guard<std::mutex> lock(stream_table().mutex);
  const auto found = stream_table().streams.find(handle);
  return found == stream_table().streams.end() ? nullptr : found->second;
}

cudaStream_t add_stream(std::shared_ptr<Stream> stream) {
  const auto handle = reinterpret_cast<cudaStream_t>(stream.get());
  const std::lock_guard<std::mutex> lock(stream_table().mutex);
  stream_table().streams[handle] = std::move(stream);
  return handle;
}

void remove_stream(cudaStream_t handle) {
  const std::lock_guard<std::mutex> lock(stream_table().mutex);
  stream_table().streams.erase(handle);
}

}  // namespace fakescore::emulation
