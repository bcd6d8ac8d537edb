#pragma once

#include <chrono>
#include <optional>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// Sets a communicator's timeout for the length of a call. An invalid one is ignored here: the call
/// rejects it on all ranks together, and needs a valid timeout to do so.
class TimeoutScope {
 public:
  TimeoutScope(Communicator& communicator, std::optional<std::chrono::milliseconds> timeout)
      : communicator_(communicator), before_(communicator.timeout()) {
    if (timeout && timeout->count() > 0) communicator_.set_timeout(*timeout);
  }
  ~TimeoutScope() { communicator_.set_timeout(before_); }
  TimeoutScope(const TimeoutScope&) = delete;
  TimeoutScope& operator=(const TimeoutScope&) = delete;

 private:
  Communicator& communicator_;
  std::chrono::milliseconds before_;
};

}  // namespace fakescore::detail
