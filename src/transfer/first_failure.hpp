#pragma once

#include <optional>
#include <string>
#include <utility>

#include "fakescore/error.hpp"

namespace fakescore::detail {

/// Keeps what failed first on this rank in a stream of broadcasts, which goes on all the same so
/// that the other ranks are not left waiting.
class FirstFailure {
 public:
  FirstFailure(int rank, std::string phase) : rank_(rank), phase_(std::move(phase)) {}

  /// Runs `step`, which concerns the tensor `name`; nothing after a failure. A lost peer, with
  /// which the stream ends, is thrown.
  template <typename Step>
  void guard(const std::string& name, Step step) {
    if (info_) return;
    try {
      step();
    } catch (const CommError&) {
      throw;
    } catch (...) {
      info_ = describe_current_exception(rank_, phase_);
      if (info_->subject.empty()) info_->subject = name;
    }
  }

  const std::optional<ErrorInfo>& info() const noexcept { return info_; }

 private:
  int rank_;
  std::string phase_;
  std::optional<ErrorInfo> info_;
};

}  // namespace fakescore::detail
