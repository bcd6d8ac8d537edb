#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/error.hpp"
#include "fakescore/export.hpp"

namespace fakescore {

/// As long as it exists, the other ranks hear that this one is at work; see
/// `ControlPlane::begin_work`. Destroy it before its communicator, on the thread that made it, and
/// the youngest first.
class FAKESCORE_API OwnWork {
 public:
  virtual ~OwnWork() = default;
};

/// What `ControlPlane::compare` found: rank 0's value, and the lowest rank that has another one.
struct Comparison {
  std::string of_rank_0;
  int other_rank = -1;  ///< -1 where every rank has rank 0's value
  std::string of_other_rank;

  bool is_same() const noexcept { return other_rank < 0; }
};

/// Small messages between the hosts of a fixed group of ranks, and what each knows of the others:
/// who is at work, who is lost. It says when a job is broken, for the bulk planes as well.
///
/// Calls, deadlines and threads are as `Communicator` has them. What throws a CommError breaks the
/// plane: `broken()` is true from then on, and every later call throws the same, but for
/// begin_work, which gives nothing.
class FAKESCORE_API ControlPlane {
  struct State {
    State(int rank_, int world_size_, std::chrono::milliseconds timeout_, std::string backend_)
        : rank(rank_), world_size(world_size_), timeout(timeout_), backend(std::move(backend_)) {}
    const int rank;
    const int world_size;
    std::chrono::milliseconds timeout;
    const std::string backend;
    std::atomic<bool> waits{false};
    std::atomic<bool> interrupted{false};
  };

 public:
  /// How long survivors take at most to find out which ranks are lost.
  static constexpr std::chrono::milliseconds kPeerCensus{2000};

  /// The longest timeout; a longer one is cut to it. Some clocks count milliseconds in an int.
  static constexpr std::chrono::milliseconds kLongestTimeout = std::chrono::hours(24 * 24);

  virtual ~ControlPlane() = default;
  ControlPlane& operator=(const ControlPlane&) = delete;

  int rank() const noexcept { return state_->rank; }
  int world_size() const noexcept { return state_->world_size; }
  std::chrono::milliseconds timeout() const noexcept { return state_->timeout; }
  void set_timeout(std::chrono::milliseconds timeout) noexcept {
    state_->timeout = std::min(timeout, kLongestTimeout);
  }
  /// "local", "mpi", "store": for reports and errors.
  const std::string& backend() const noexcept { return state_->backend; }

  /// From any thread, a signal's included: the call that waits on this plane, or the next that
  /// would, abandons the job. Over a store; other planes do not look, and wait on.
  void interrupt() noexcept { state_->interrupted = true; }
  bool interrupted() const noexcept { return state_->interrupted; }

  /// As long as it exists this rank waits for others, and must not be heard to be at work: two
  /// ranks that wait for a lost one would else keep each other waiting. For whatever waits,
  /// bulk planes included.
  class Waiting {
   public:
    explicit Waiting(const ControlPlane& control)
        : state_(control.state_), before_(state_->waits.exchange(true)) {}
    ~Waiting() { state_->waits = before_; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    std::shared_ptr<State> state_;
    bool before_;
  };

  /// Whether every rank has the same value. What a rank sends and receives for it does not grow
  /// with the number of ranks, except on the one that combines: the way to agree. `what` names the
  /// step in errors.
  virtual Comparison compare(const std::string& value, const std::string& what) = 0;

  /// Every rank's message, indexed by rank, on every rank. Lengths may differ. A rank receives as
  /// much as all ranks send, so this is for what differs from rank to rank.
  virtual std::vector<std::string> all_gather(const std::string& message,
                                              const std::string& what) = 0;

  /// Root's message, on every rank. The `message` of other ranks is ignored.
  virtual std::string broadcast_message(const std::string& message, int root,
                                        const std::string& what) = 0;

  /// By one rank alone: says to the others, until the result is destroyed, that this rank is at
  /// work on `what`, a step of its own that may take longer than their timeout. They hear of it
  /// each quarter of `timeout()`, but not while a `Waiting` exists. A rank that dies or is stopped
  /// meanwhile is not heard of, and is lost within their timeout. Null where the plane cannot: MPI
  /// below MPI_THREAD_MULTIPLE, a world of one rank, and by default.
  virtual std::unique_ptr<OwnWork> begin_work(const std::string& what);

  /// How often another rank was heard to be at work, as far as `peer_abandoned` and the waiting
  /// calls have listened. Where it grows, who waits for something else than this plane has reason
  /// to wait on.
  virtual uint64_t times_heard() const noexcept { return 0; }

  /// Whether a peer was lost; every call but the destructor and `abandon` then throws.
  virtual bool broken() const noexcept = 0;

  /// Tells the other ranks that this one cannot go on, finds out which ranks still answer, and
  /// returns what every rank then throws as a CommError. `reason` is part of it; if empty, the
  /// first rank that gave up supplies the reason. The plane is broken afterwards. If it is broken
  /// already, returns what broke it, at once.
  virtual ErrorInfo abandon(const std::string& reason) = 0;

  /// Whether another rank has abandoned the job or looks for lost peers. A rank that waits for
  /// something other than this plane polls this, and if it is true calls `abandon("")`.
  virtual bool peer_abandoned() = 0;

 protected:
  ControlPlane(int rank, int world_size, std::chrono::milliseconds timeout, std::string backend)
      : state_(std::make_shared<State>(rank, world_size, std::min(timeout, kLongestTimeout),
                                       std::move(backend))) {}
  /// For a plane that passes calls on to another one: both have one timeout, and wait together.
  ControlPlane(const ControlPlane& wrapped) = default;

  /// Whether this rank waits, for a thread that says that it is at work.
  std::shared_ptr<const std::atomic<bool>> waits() const { return {state_, &state_->waits}; }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace fakescore
