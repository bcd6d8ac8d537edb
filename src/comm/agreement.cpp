#include "comm/agreement.hpp"

#include "core/error_codec.hpp"

namespace fakescore::detail {

void agree(Communicator& communicator, const std::string& phase,
           const std::optional<ErrorInfo>& failure) {
  const Comparison found = communicator.compare(failure ? encode_error(*failure) : "", phase);
  // Where rank 0 has not failed, the lowest rank with another value is the lowest that has.
  if (!found.of_rank_0.empty()) throw_error(decode_error(found.of_rank_0));
  if (!found.is_same()) throw_error(decode_error(found.of_other_rank));
}

void agree_on_value(Communicator& communicator, const std::string& phase, const std::string& name,
                    const std::string& value) {
  const Comparison found = communicator.compare(value, phase);
  if (found.is_same()) return;
  throw_error({ErrorCode::kMismatch, found.other_rank, phase, name,
               "rank " + std::to_string(found.other_rank) + " has " + found.of_other_rank +
                   ", but rank 0 has " + found.of_rank_0,
               "call with the same options on every rank"});
}

}  // namespace fakescore::detail
