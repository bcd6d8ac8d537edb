#include "fakescore/comm/run_agreed.hpp"

#include <optional>

#include "comm/control/agreement.hpp"

namespace fakescore {

void run_agreed(Communicator& communicator, const std::string& phase, ErrorCode fallback,
                const std::function<void()>& step) {
  std::optional<ErrorInfo> failure;
  try {
    const auto work = communicator.begin_work(phase);
    step();
  } catch (const CommError&) {
    throw;
  } catch (...) {
    failure = describe_current_exception(communicator.rank(), phase, fallback);
  }
  detail::agree(communicator, phase, failure);
}

}  // namespace fakescore
