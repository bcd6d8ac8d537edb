#include "fill/replay_tape.hpp"

#include <utility>

#include "fakescore/error.hpp"

namespace fakescore::detail {

std::vector<at::Tensor> replay_tape(const std::shared_ptr<InitTape>& tape,
                                    const std::vector<at::Tensor>& recorded,
                                    const std::string& wanted_for) {
  if (!tape) return recorded;
  try {
    return tape->replay(recorded);
  } catch (const Error& error) {
    ErrorInfo info = error.info();
    info.message += "; wanted for " + wanted_for;
    throw_error(std::move(info));
  }
}

}  // namespace fakescore::detail
