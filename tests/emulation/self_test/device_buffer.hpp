#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace fakescore::emulation {

/// Bytes on the current device.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t bytes) : bytes_(bytes) {
    EXPECT_EQ(cudaMalloc(&address_, bytes), cudaSuccess);
  }
  ~DeviceBuffer() { EXPECT_EQ(cudaFree(address_), cudaSuccess); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  void* get() const { return address_; }
  char* at(size_t offset) const { return static_cast<char*>(address_) + offset; }
  std::vector<unsigned char> read() const {
    std::vector<unsigned char> values(bytes_);
    EXPECT_EQ(cudaMemcpy(values.data(), address_, bytes_, cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  size_t bytes_;
  void* address_ = nullptr;
};

/// Pinned bytes, all of one value.
class PinnedBuffer {
 public:
  PinnedBuffer(size_t bytes, unsigned char value) : bytes_(bytes) {
    EXPECT_EQ(cudaMallocHost(&address_, bytes), cudaSuccess);
    fill(value);
  }
  ~PinnedBuffer() { EXPECT_EQ(cudaFreeHost(address_), cudaSuccess); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  void* get() const { return address_; }
  void fill(unsigned char value) {
    for (size_t i = 0; i < bytes_; ++i) static_cast<unsigned char*>(address_)[i] = value;
  }
  std::vector<unsigned char> read() const {
    const auto* const values = static_cast<const unsigned char*>(address_);
    return {values, values + bytes_};
  }

 private:
  size_t bytes_;
  void* address_ = nullptr;
};

inline std::vector<unsigned char> filled(size_t bytes, unsigned char value) {
  return std::vector<unsigned char>(bytes, value);
}

}  // namespace fakescore::emulation
