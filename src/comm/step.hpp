#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/error.hpp"

namespace fakescore::detail {

/// kFailure is no call: its rank cannot go on, and `what` says why; empty where another one gave
/// up.
enum class CallKind : int {
  kAllGather = 0,
  kBroadcastMessage = 1,
  kBroadcast = 2,
  kFailure = 3,
  kCompare = 4
};

/// One collective call as its caller sees it; ranks that differ in it called different steps.
struct Step {
  CallKind kind = CallKind::kAllGather;
  int root = -1;       ///< -1 where the call has none
  int64_t bytes = -1;  ///< length of a bulk buffer; -1 for messages
  std::string what;

  bool operator==(const Step&) const = default;
};

/// `all_gather "plan"`, `broadcast "x" of 12 bytes from rank 0`.
std::string describe(const Step& step);

/// A step as bytes and back, for steps travel between ranks; nothing where they cannot be read.
std::string encode_step(const Step& step);
std::optional<Step> decode_step(const std::string& bytes);

/// "1.5 s".
std::string in_seconds(std::chrono::milliseconds timeout);

/// "rank 3", "ranks 1, 2 and 5".
std::string name_ranks(const std::vector<int>& ranks);

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

/// How long a census listens. Below Communicator::kPeerCensus: a peer that hears of the census late
/// and the way back have to fit in as well.
inline constexpr std::chrono::milliseconds kCensusListens{1500};

/// The error of a deadline that passed, from what the census found. It depends on nothing that is
/// one rank's own, so that every survivor raises the same text. A rank that is at work does not
/// answer either, and is lost only where nobody else is.
ErrorInfo judge_census(const Answers& answers, const std::string& backend,
                       std::chrono::milliseconds timeout);

/// The error of two ranks that called different steps.
ErrorInfo different_steps(int first_rank, const Step& first, int second_rank, const Step& second,
                          const std::string& backend);

}  // namespace fakescore::detail
