#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "comm/control/step.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {

// Ranks that find no progress ask each other who is still there: a census.

/// What a rank says when it is asked who is still there.
struct Answer {
  Step step;                           ///< the one that it waits in
  std::string last;                    ///< the last step in which it heard of every rank
  std::map<int, std::string> working;  ///< the ranks that have since said what they are at work on
};

/// What a census found: element i is rank i's answer, nothing where there was none.
using Answers = std::vector<std::optional<Answer>>;

/// An answer as bytes and back.
std::string encode_answer(const Answer& answer);
std::optional<Answer> decode_answer(const std::string& bytes);

/// How long a census listens. Below ControlPlane::kPeerCensus: a peer that hears of the census late
/// and the way back have to fit in as well.
inline constexpr std::chrono::milliseconds kCensusListens{1500};

/// The error of a deadline that passed, from what the census found. It depends on nothing that is
/// one rank's own, so that every survivor raises the same text. A rank that is at work does not
/// answer either, and is lost only where nobody else is.
ErrorInfo judge_census(const Answers& answers, const std::string& backend,
                       std::chrono::milliseconds timeout);

}  // namespace fakescore::detail
