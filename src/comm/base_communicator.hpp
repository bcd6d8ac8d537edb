#pragma once

#include <optional>
#include <string>
#include <utility>

#include "comm/deadline.hpp"
#include "comm/step.hpp"
#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// What every backend shares: the failure that broke it, and checks of arguments.
class BaseCommunicator : public Communicator {
 public:
  bool broken() const noexcept override { return failure_.has_value(); }

 protected:
  using Communicator::Communicator;

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
    throw ConfigError({ErrorCode::kConfig, -1, "", what,
                       "root " + std::to_string(root) + " is not a rank of a job of " +
                           std::to_string(world_size()) + " ranks",
                       "give a rank from 0 to the world size less one"});
  }

  void require_buffer(const at::Tensor& buffer, at::Device where, const std::string& what) const {
    const bool fits = buffer.defined() && buffer.device() == where && buffer.dim() == 1 &&
                      buffer.scalar_type() == at::kByte && buffer.is_contiguous();
    if (fits) return;
    throw ConfigError(
        {ErrorCode::kConfig, -1, "", what,
         "a broadcast over " + backend() + " needs a contiguous 1-D uint8 tensor on " + where.str(),
         ""});
  }

 private:
  std::optional<ErrorInfo> failure_;
};

}  // namespace fakescore::detail
