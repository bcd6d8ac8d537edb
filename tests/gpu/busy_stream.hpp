#pragma once

#include <c10/cuda/CUDAStream.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>

#include "self_test/gate.hpp"
#include "support/faulty_communicator.hpp"

namespace fakescore::testing {

/// Keeps the current stream busy while a job over `communicator()` begins: what the stream was
/// given meanwhile is done only some time after the job's first broadcast was. A job that waits for
/// it sees it; one that does not has gone on by then.
class BusyStream {
 public:
  /// `at_broadcast` is called before each of the job's broadcasts.
  explicit BusyStream(
      Communicator& communicator, std::function<void()> at_broadcast = [] {})
      : gate_(c10::cuda::getCurrentCUDAStream(communicator.device().index())),
        communicator_(
            make_faulty(communicator, {"bulk", [this, at_broadcast = std::move(at_broadcast)] {
                                         if (!std::exchange(has_begun_, true)) begun_.set_value();
                                         at_broadcast();
                                       }})) {
    opener_ = std::thread([this, begun = begun_.get_future()] {
      begun.wait_for(kLongestStart);
      std::this_thread::sleep_for(kHeadStart);
      gate_.open();
    });
  }
  ~BusyStream() { opener_.join(); }
  BusyStream(const BusyStream&) = delete;
  BusyStream& operator=(const BusyStream&) = delete;

  Communicator& communicator() { return *communicator_; }

 private:
  /// A job may also have the host wait for the stream, before any broadcast.
  static constexpr std::chrono::seconds kLongestStart{5};
  /// For what does not wait; what waits does not depend on it.
  static constexpr std::chrono::milliseconds kHeadStart{200};

  emulation::Gate gate_;
  std::promise<void> begun_;
  bool has_begun_ = false;
  std::unique_ptr<Communicator> communicator_;
  std::thread opener_;
};

}  // namespace fakescore::testing
