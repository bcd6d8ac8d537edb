#pragma once

#include <optional>
#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {

/// What a rank reports to all others.
struct RankReport {
  int rank = -1;  ///< -1 where no rank has any
  std::string text;
};

/// Collective. Each rank gives what it has to report, or nothing; all learn of the lowest rank that
/// has something.
RankReport first_report(Communicator& communicator, const std::string& phase,
                        const std::string& own);

/// Collective. Returns when no rank failed; otherwise throws the failure of the lowest failing rank
/// on every rank.
void agree(Communicator& communicator, const std::string& phase,
           const std::optional<ErrorInfo>& failure);

/// Collective. Throws MismatchError on every rank unless `value` is the same everywhere.
void agree_on_value(Communicator& communicator, const std::string& phase, const std::string& name,
                    const std::string& value);

}  // namespace fakescore::detail
