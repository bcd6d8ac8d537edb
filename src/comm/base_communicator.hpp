#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "comm/deadline.hpp"
#include "comm/step.hpp"
#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// What every backend shares: the failure that broke it, what it knows of its peers, and checks of
/// arguments.
class BaseCommunicator : public Communicator {
 public:
  bool broken() const noexcept override { return failure_.has_value(); }
  uint64_t times_heard() const noexcept override { return times_heard_; }

  /// As long as it exists this rank waits for others, and must not be heard to be at work: two
  /// ranks that wait for a lost one would else keep each other waiting.
  class Waiting {
   public:
    explicit Waiting(const BaseCommunicator& communicator)
        : waits_(*communicator.waits_), before_(waits_.exchange(true)) {}
    ~Waiting() { waits_ = before_; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    std::atomic<bool>& waits_;
    bool before_;
  };

 protected:
  using Communicator::Communicator;

  /// Whether this rank waits, for a thread that says that it is at work.
  std::shared_ptr<const std::atomic<bool>> waits() const { return waits_; }

  /// How often every rank was heard of. Work is told with it, for what is heard late is over.
  int64_t times_together() const { return times_together_; }

  /// Rank `peer` said that it is at work on `what`, and what its `times_together` was.
  void hear_of_work(int peer, std::string what, int64_t times_together) {
    if (times_together < times_together_) return;
    ++times_heard_;
    working_[peer] = std::move(what);
  }

  /// Every rank was heard of in `what`: who was at work before has ended that.
  void hear_of_all(const std::string& what) {
    ++times_together_;
    last_ = what;
    working_.clear();
  }

  Answer answer_with(Step step) const { return {std::move(step), last_, working_}; }

  void require_healthy() const {
    if (failure_) throw CommError(*failure_);
  }

  /// What a step that always throws a CommError says.
  template <typename Step>
  static ErrorInfo failure_of(Step step) {
    try {
      step();
    } catch (const CommError& error) {
      return error.info();
    }
    return {};
  }

  /// Breaks the communicator; what broke it first is what every later call says.
  [[noreturn]] void fail(ErrorInfo info) {
    if (!failure_) failure_ = std::move(info);
    throw CommError(*failure_);
  }

  void require_root(int root, const std::string& what) const {
    if (root >= 0 && root < world_size()) return;
    throw ConfigError(what,
                      "root " + std::to_string(root) + " is not a rank of a job of " +
                          std::to_string(world_size()) + " ranks",
                      "give a rank from 0 to the world size less one");
  }

  void require_buffer(const at::Tensor& buffer, at::Device where, const std::string& what) const {
    const bool fits = buffer.defined() && buffer.device() == where && buffer.dim() == 1 &&
                      buffer.scalar_type() == at::kByte && buffer.is_contiguous();
    if (fits) return;
    throw ConfigError(what, "a broadcast over " + backend() +
                                " needs a contiguous 1-D uint8 tensor on " + where.str());
  }

 private:
  std::optional<ErrorInfo> failure_;
  std::string last_;
  std::map<int, std::string> working_;
  uint64_t times_heard_ = 0;
  int64_t times_together_ = 0;
  std::shared_ptr<std::atomic<bool>> waits_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace fakescore::detail
