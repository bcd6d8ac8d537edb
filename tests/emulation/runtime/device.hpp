#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <mutex>
#include <vector>

#include "runtime/device_memory.hpp"
#include "runtime/stream.hpp"

namespace fakescore::emulation {

class Device {
 public:
  /// `on_host` is the device's number on the host: CUDA_VISIBLE_DEVICES may give it another here.
  Device(int index, int on_host, size_t capacity);

  std::shared_ptr<Stream> create_stream(Stream::Kind kind, int priority);
  const std::shared_ptr<Stream>& default_stream() const { return default_stream_; }

  /// Pushes in the order that the default stream and the blocking streams keep to each other.
  Ticket submit(const std::shared_ptr<Stream>& stream, Work work);
  /// Waits for all that was submitted to any stream of this device, destroyed ones included.
  void synchronize();

  int on_host() const { return on_host_; }
  DeviceMemory& memory() { return memory_; }

 private:
  std::vector<std::shared_ptr<Stream>> streams_alive();

  const int on_host_;
  DeviceMemory memory_;
  std::mutex submitting_;
  std::vector<std::weak_ptr<Stream>> streams_;
  std::shared_ptr<Stream> default_stream_;
};

int device_count();
Device& device(int index);
int& current_device();  ///< of the calling thread

/// The device that `address` lies on; null for host memory.
Device* device_of(const void* address);
int device_index_of(const void* address);  ///< -1 for host memory
/// What the host may touch in place of `address`.
void* host_address(const void* address);

/// Streams by handle. Null is the current device's default stream; an unknown handle finds null.
std::shared_ptr<Stream> find_stream(cudaStream_t handle);
cudaStream_t add_stream(std::shared_ptr<Stream> stream);
void remove_stream(cudaStream_t handle);

inline Ticket submit(const std::shared_ptr<Stream>& stream, Work work) {
  return device(stream->device()).submit(stream, std::move(work));
}

}  // namespace fakescore::emulation
