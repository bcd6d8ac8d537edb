#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>

namespace fakescore::emulation {

/// Holds a stream until it is opened, so that a test needs no luck and no speed.
class Gate {
 public:
  explicit Gate(cudaStream_t stream) {
    auto* const shared = new std::shared_future<void>(opening_.get_future().share());
    EXPECT_EQ(cudaLaunchHostFunc(stream, &Gate::wait, shared), cudaSuccess);
  }
  ~Gate() { open(); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void open() {
    if (!is_open_) opening_.set_value();
    is_open_ = true;
  }

 private:
  static void wait(void* shared) {
    const std::unique_ptr<std::shared_future<void>> opening(
        static_cast<std::shared_future<void>*>(shared));
    opening->wait();
  }

  std::promise<void> opening_;
  bool is_open_ = false;
};

}  // namespace fakescore::emulation
