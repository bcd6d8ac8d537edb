#include "comm/control/census.hpp"

#include <sstream>
#include <utility>

#include "comm/control/step_wire.hpp"
#include "comm/words.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kLostRemedy =
    "look at the logs of the ranks named and start the job again; if a rank was only slow, raise "
    "the timeout";
/// The first two answers that differ, as "; rank 0 waits in ..., rank 1 in ..."; empty where all
/// wait in the same step.
std::string name_difference(const Answers& answers) {
  size_t first = 0;
  while (first < answers.size() && !answers[first]) ++first;
  for (size_t rank = first + 1; rank < answers.size(); ++rank) {
    if (!answers[rank] || answers[rank]->step == answers[first]->step) continue;
    std::ostringstream text;
    text << ": rank " << first << " waits in " << describe(answers[first]->step) << ", rank "
         << rank << " in " << describe(answers[rank]->step);
    return text.str();
  }
  return "";
}

/// The ranks that did not answer and said, to any rank that did, what they are at work on.
std::map<int, std::string> find_working(const Answers& answers) {
  std::map<int, std::string> working;
  for (const auto& answer : answers) {
    if (!answer) continue;
    for (const auto& [rank, what] : answer->working) {
      if (rank < 0 || static_cast<size_t>(rank) >= answers.size()) continue;
      if (!answers[static_cast<size_t>(rank)]) working.emplace(rank, what);
    }
  }
  return working;
}

std::vector<int> find_silent(const Answers& answers) {
  std::vector<int> silent;
  for (size_t rank = 0; rank < answers.size(); ++rank) {
    if (!answers[rank]) silent.push_back(static_cast<int>(rank));
  }
  return silent;
}

/// What was last heard of the lost ranks: of what each was at work on, or of all ranks together.
std::string describe_last_seen(const std::vector<int>& lost, const Answers& answers,
                               const std::map<int, std::string>& working) {
  std::string text;
  for (const int rank : lost) {
    if (const auto found = working.find(rank); found != working.end()) {
      text += "; rank " + std::to_string(rank) + " was last known to be at work on \"" +
              found->second + "\"";
    }
  }
  if (!text.empty()) return text;
  for (const auto& answer : answers) {
    if (answer && !answer->last.empty()) return "; last heard of in \"" + answer->last + "\"";
  }
  return "";
}

ErrorInfo name_lost(std::vector<int> silent, const Answers& answers, const std::string& what,
                    const std::string& backend, std::chrono::milliseconds timeout) {
  auto working = find_working(answers);
  std::vector<int> lost;
  for (const int rank : silent) {
    if (!working.contains(rank)) lost.push_back(rank);
  }
  if (lost.empty()) lost = std::move(silent);
  std::ostringstream message;
  message << name_ranks(lost) << " of " << answers.size() << " did not answer within "
          << in_seconds(timeout) << " over " << backend
          << ": dead, stopped, or no longer in the job"
          << describe_last_seen(lost, answers, working);
  for (const int rank : lost) working.erase(rank);
  for (const auto& [rank, step] : working) {
    message << "; rank " << rank << " is still at work on \"" << step << '"';
  }
  return {ErrorCode::kPeerLost, lost.front(), "", what, message.str(), kLostRemedy};
}

}  // namespace

auto wire_fields(Answer& answer) { return std::tie(answer.step, answer.last, answer.working); }

std::string encode_answer(const Answer& answer) { return to_wire(answer); }

std::optional<Answer> decode_answer(const std::string& bytes) {
  try {
    auto [answer] = from_wire<Answer>(bytes, "answer");
    return is_known(answer.step) ? std::optional<Answer>(std::move(answer)) : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

ErrorInfo judge_census(const Answers& answers, const std::string& backend,
                       std::chrono::milliseconds timeout) {
  std::optional<int> failed;
  std::string what;
  for (size_t rank = 0; rank < answers.size(); ++rank) {
    // One without a name follows another rank.
    if (!answers[rank] || answers[rank]->step.what.empty()) continue;
    const Step& step = answers[rank]->step;
    if (step.kind == CallKind::kFailure && !failed) {
      failed = static_cast<int>(rank);
      what = step.what;
    } else if (what.empty()) {
      what = step.what;
    }
  }
  std::vector<int> silent = find_silent(answers);
  if (!silent.empty()) return name_lost(std::move(silent), answers, what, backend, timeout);
  std::ostringstream message;
  if (failed) {
    message << "rank " << *failed << " cannot go on; every rank still answers over " << backend;
    return {ErrorCode::kPeerLost,
            *failed,
            "",
            what,
            message.str(),
            "look at the logs of every rank and start the job again"};
  }
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

}  // namespace fakescore::detail
