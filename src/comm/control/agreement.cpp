#include "comm/control/agreement.hpp"

#include <utility>

#include "error/error_codec.hpp"

namespace fakescore::detail {

RankReport first_report(Communicator& communicator, const std::string& phase,
                        const std::string& own) {
  Comparison found = communicator.compare(own, phase);
  // Where rank 0 has nothing, the lowest rank with another value is the lowest that has something.
  if (found.of_rank_0.empty()) return {found.other_rank, std::move(found.of_other_rank)};
  return {0, std::move(found.of_rank_0)};
}

void agree(Communicator& communicator, const std::string& phase,
           const std::optional<ErrorInfo>& failure) {
  const RankReport first = first_report(communicator, phase, failure ? encode_error(*failure) : "");
  if (first.rank >= 0) throw_error(decode_error(first.text));
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
