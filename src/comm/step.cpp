#include "comm/step.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

namespace fakescore::detail {
namespace {

using nlohmann::json;

constexpr const char* kLostRemedy =
    "look at the logs of the ranks named and start the job again; if a rank was only slow, raise "
    "the timeout";
constexpr const char* kStepsRemedy =
    "make the same calls in the same order with the same options on every rank";

/// The first two answers that differ, as "; rank 0 waits in ..., rank 1 in ..."; empty where all
/// wait in the same step.
std::string name_difference(const Answers& answers) {
  size_t first = 0;
  while (first < answers.size() && !answers[first]) ++first;
  for (size_t rank = first + 1; rank < answers.size(); ++rank) {
    if (!answers[rank] || *answers[rank] == *answers[first]) continue;
    std::ostringstream text;
    text << ": rank " << first << " waits in " << describe(*answers[first]) << ", rank " << rank
         << " in " << describe(*answers[rank]);
    return text.str();
  }
  return "";
}

}  // namespace

std::string describe(const Step& step) {
  std::ostringstream text;
  switch (step.kind) {
    case CallKind::kAllGather:
      text << "all_gather \"" << step.what << '"';
      break;
    case CallKind::kBroadcastMessage:
      text << "broadcast_message \"" << step.what << "\" from rank " << step.root;
      break;
    case CallKind::kBroadcast:
      text << "broadcast \"" << step.what << "\" of " << step.bytes << " bytes from rank "
           << step.root;
      break;
    case CallKind::kFailure:
      text << step.what;
      break;
  }
  return text.str();
}

std::string encode_step(const Step& step) {
  std::string bytes;
  json::to_msgpack(json::array({static_cast<int>(step.kind), step.root, step.bytes, step.what}),
                   bytes);
  return bytes;
}

std::optional<Step> decode_step(const std::string& bytes) {
  try {
    const json fields = json::from_msgpack(bytes);
    const int kind = fields.at(0).get<int>();
    if (kind < 0 || kind > static_cast<int>(CallKind::kFailure)) return std::nullopt;
    return Step{static_cast<CallKind>(kind), fields.at(1).get<int>(), fields.at(2).get<int64_t>(),
                fields.at(3).get<std::string>()};
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::string in_seconds(std::chrono::milliseconds timeout) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", static_cast<double>(timeout.count()) / 1000);
  return text;
}

std::string name_ranks(const std::vector<int>& ranks) {
  std::ostringstream text;
  text << (ranks.size() == 1 ? "rank " : "ranks ");
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) text << (i + 1 == ranks.size() ? " and " : ", ");
    text << ranks[i];
  }
  return text.str();
}

ErrorInfo judge_census(const Answers& answers, const std::string& backend,
                       std::chrono::milliseconds timeout) {
  std::vector<int> lost;
  std::optional<int> failed;
  std::string what;
  for (size_t rank = 0; rank < answers.size(); ++rank) {
    if (!answers[rank]) {
      lost.push_back(static_cast<int>(rank));
    } else if (answers[rank]->what.empty()) {
      continue;  // it follows another rank
    } else if (answers[rank]->kind == CallKind::kFailure && !failed) {
      failed = static_cast<int>(rank);
      what = answers[rank]->what;
    } else if (what.empty()) {
      what = answers[rank]->what;
    }
  }
  std::ostringstream message;
  if (lost.empty() && failed) {
    message << "rank " << *failed << " cannot go on; every rank still answers over " << backend;
    return {ErrorCode::kPeerLost,
            *failed,
            "",
            what,
            message.str(),
            "look at the logs of every rank and start the job again"};
  }
  if (lost.empty()) {
    message << "no progress within " << in_seconds(timeout) << " over " << backend
            << ", yet every rank answered: a rank is slower than the timeout or ranks called "
               "different steps"
            << name_difference(answers);
    return {ErrorCode::kPeerLost,
            -1,
            "",
            what,
            message.str(),
            "raise the timeout, or " + std::string(kStepsRemedy)};
  }
  message << name_ranks(lost) << " of " << answers.size() << " did not answer within "
          << in_seconds(timeout) << " over " << backend
          << ": dead, stopped, or no longer in the job";
  return {ErrorCode::kPeerLost, lost.front(), "", what, message.str(), kLostRemedy};
}

ErrorInfo different_steps(int first_rank, const Step& first, int second_rank, const Step& second,
                          const std::string& backend) {
  std::ostringstream message;
  message << "ranks called different steps over " << backend << ": rank " << first_rank
          << " called " << describe(first) << ", rank " << second_rank << " called "
          << describe(second);
  return {ErrorCode::kPeerLost, -1, "", first.what, message.str(), kStepsRemedy};
}

}  // namespace fakescore::detail
