#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "comm/control/census.hpp"
#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// What our control planes share: the failure that broke one, and what it knows of its peers.
class BaseControl : public ControlPlane {
 public:
  bool broken() const noexcept override { return failure_.has_value(); }
  uint64_t times_heard() const noexcept override { return times_heard_; }

 protected:
  using ControlPlane::ControlPlane;

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

  /// For bytes of another build, with which nothing can be agreed: to this one it is lost.
  static ErrorInfo as_lost_peer(const Error& error) {
    const ErrorInfo& info = error.info();
    return {ErrorCode::kPeerLost, -1, "", info.subject, info.message, info.remedy};
  }

  /// Breaks the plane; what broke it first is what every later call says.
  [[noreturn]] void fail(ErrorInfo info) {
    if (!failure_) failure_ = std::move(info);
    throw CommError(*failure_);
  }

 private:
  std::optional<ErrorInfo> failure_;
  std::string last_;
  std::map<int, std::string> working_;
  uint64_t times_heard_ = 0;
  int64_t times_together_ = 0;
};

}  // namespace fakescore::detail
