#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "comm/control/census.hpp"

namespace fakescore::detail {

// Messages between ranks whose length MPI knows before they come.

constexpr int kCensusTag = 1;
constexpr int kWorkTag = 2;
constexpr int kExchangeTag = 3;

/// A fixed-length summary that goes ahead of every control message.
struct Head {
  int64_t bytes = 0;
  int64_t step_bytes = 0;
  char step[240] = {};
  char message[256] = {};  ///< as much of the message as there is room for
};

// An encoded step is its name and at most 24 bytes.
inline constexpr size_t kLongestName = 200;

/// Every rank cuts a long name alike, so that the same step stays the same.
inline Head make_head(Step step, size_t bytes, std::string_view message = {}) {
  if (step.what.size() > kLongestName) step.what.resize(kLongestName);
  const std::string encoded = encode_step(step);
  Head head;
  head.bytes = static_cast<int64_t>(bytes);
  head.step_bytes = static_cast<int64_t>(std::min(encoded.size(), sizeof head.step));
  std::memcpy(head.step, encoded.data(), static_cast<size_t>(head.step_bytes));
  message.copy(head.message, sizeof head.message);
  return head;
}

inline Step read_step(const Head& head) {
  const auto bytes = std::clamp<int64_t>(head.step_bytes, 0, sizeof head.step);
  return decode_step(std::string(head.step, static_cast<size_t>(bytes))).value_or(Step{});
}

/// What the leader of a meeting tells all others.
struct MeetingHead {
  enum class Next : int64_t {
    kResult,     ///< the result is here, or follows from the leader
    kFromRoot,   ///< the message follows from the step's root
    kMessages,   ///< every rank sends its message, of which the longest has `bytes`
    kDifferent,  ///< ranks called different steps: the error is here, or follows from the leader
  };
  Next next = Next::kResult;
  int64_t bytes = 0;
  char result[496] = {};
};

inline bool fits_in_head(int64_t bytes) {
  return bytes <= static_cast<int64_t>(sizeof(MeetingHead::result));
}

inline MeetingHead make_meeting_head(MeetingHead::Next next, int64_t bytes,
                                     std::string_view result = {}) {
  MeetingHead head{next, bytes, {}};
  result.copy(head.result, sizeof head.result);
  return head;
}

/// What a rank says of itself in a census. Names are cut so that it fits, alike on every rank.
struct Census {
  int64_t bytes = 0;
  char answer[1016] = {};
};

inline constexpr size_t kMostWorking = 2;

inline Answer cut_names(Answer answer) {
  for (std::string* name : {&answer.step.what, &answer.last}) {
    if (name->size() > kLongestName) name->resize(kLongestName);
  }
  while (answer.working.size() > kMostWorking) answer.working.erase(--answer.working.end());
  for (auto& [rank, what] : answer.working) {
    if (what.size() > kLongestName) what.resize(kLongestName);
  }
  return answer;
}

inline Census make_census(const Answer& answer) {
  const std::string encoded = encode_answer(answer);
  Census census;
  census.bytes = static_cast<int64_t>(std::min(encoded.size(), sizeof census.answer));
  std::memcpy(census.answer, encoded.data(), static_cast<size_t>(census.bytes));
  return census;
}

inline Answer read_census(const Census& census) {
  const auto bytes = std::clamp<int64_t>(census.bytes, 0, sizeof census.answer);
  return decode_answer(std::string(census.answer, static_cast<size_t>(bytes))).value_or(Answer{});
}

}  // namespace fakescore::detail
