#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "fakescore/error.hpp"

namespace fakescore::detail {

/// kFailure is no call: its rank cannot go on, and `what` says why; empty where another one gave
/// up.
enum class CallKind : int {
  kAllGather = 0,
  kBroadcastMessage = 1,
  kBroadcast = 2,
  kFailure = 3,
  kCompare = 4,
  kExchange = 5
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

inline constexpr const char* kStepsRemedy =
    "make the same calls in the same order with the same options on every rank";

/// The error of two ranks that called different steps.
ErrorInfo different_steps(int first_rank, const Step& first, int second_rank, const Step& second,
                          const std::string& backend);

/// The error of an exchange in which `sender` has not for `receiver` what that expects.
ErrorInfo different_parcels(int sender, int receiver, size_t expected_bytes, const Step& step);

}  // namespace fakescore::detail
