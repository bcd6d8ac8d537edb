#include "comm/control/store_planes.hpp"

#include <algorithm>
#include <sstream>

#include "comm/control/store_census.hpp"
#include "comm/control/store_work.hpp"
#include "comm/words.hpp"
#include "error/error_codec.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore::detail {
namespace {

using std::chrono::milliseconds;
using Bytes = std::vector<uint8_t>;

// How often a rank that waits looks whether another one began a census or is at work.
constexpr milliseconds kLookInterval{200};
// What an operation may take beyond its own timeout before the store itself counts as lost.
constexpr milliseconds kStoreGrace{1500};
constexpr milliseconds kGoodbye{2000};
// How long the others wait for the rank that judges a census.
constexpr milliseconds kJudgeTime{300};
constexpr milliseconds kLongestNap{100};
// Ranks that ask a store at once keep it from answering: beyond the first number each begins with a
// nap that grows with the ranks, beyond the second with their square.
constexpr int kFewRanks = 4;
constexpr int kManyRanks = 128;

Bytes to_bytes(const std::string& text) { return Bytes(text.begin(), text.end()); }

/// What the ranks left in a store that goes on without them.
void clean_up(c10d::Store& store, const std::string& prefix,
              const std::optional<StoreMeeting>& last_meeting) {
  // The root of a message does not wait for what comes of the meeting, which may be nothing.
  if (last_meeting && store.check({last_meeting->outcome()})) delete_outcome(store, *last_meeting);
  const std::string leftovers = prefix + "leftovers";
  if (store.check({leftovers})) {
    const Bytes keys = store.get(leftovers);
    std::istringstream lines(std::string(keys.begin(), keys.end()));
    for (std::string key; std::getline(lines, key);) store.deleteKey(key);
    store.deleteKey(leftovers);
  }
  for (const char* key : {"gone", "signs", "work"}) store.deleteKey(prefix + key);
}

}  // namespace

StorePlanes::StorePlanes(c10::intrusive_ptr<c10d::Store> store, int rank, int world_size,
                         const std::string& key_prefix, milliseconds timeout, StoreServer server)
    : HostPlanes(rank, world_size, timeout, "store"),
      store_(std::move(store)),
      server_(std::move(server)),
      prefix_("fakescore/" + key_prefix + "/") {
  // Ranks that make one communicator after the other would else read each other's old keys.
  const std::string counter = prefix_ + "generation/" + std::to_string(rank);
  const int64_t generation =
      compute<int64_t>([counter](c10d::Store& s) { return s.add(counter, 1); });
  prefix_ += std::to_string(generation) + "/";
}

StorePlanes::~StorePlanes() { say_goodbye(); }

void StorePlanes::operate(Operation operation, milliseconds limit, Deadline* waiting_for) {
  bool in_time = false;
  try {
    in_time =
        worker_.run([store = store_, operation = std::move(operation)] { operation(*store); },
                    limit.count() > 0 ? limit : std::max(timeout(), kStoreGrace), waiting_for);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const Error& error) {
    // What another build has written: all ranks are to hear of it.
    publish(as_lost_peer(error));
  } catch (const std::exception&) {
    lose_store();  // c10::Error and std::runtime_error: a timeout or a connection that is gone
  }
  if (!in_time) lose_store();
}

void StorePlanes::lose_store() {
  // The reason differs from rank to rank (addresses, errno), so it stays out of the text.
  fail({ErrorCode::kPeerLost, server_.rank, "", server_.name,
        std::string("cannot be reached or does not answer over store (timeout ")
            .append(in_seconds(timeout()))
            .append("): the process that serves it is dead, stopped, or no longer in the job"),
        "look at the log of the process that serves the store and start the job again"});
}

bool StorePlanes::has(const std::string& key) {
  return compute<bool>([full = prefix_ + key](c10d::Store& s) { return s.check({full}); });
}

Nap StorePlanes::make_nap() const {
  const int ranks = world_size();
  return Nap(kLongestNap, std::max(1, ranks / kFewRanks * std::max(1, ranks / kManyRanks)));
}

void StorePlanes::await(const Question& question, const Step& step, Deadline& deadline) {
  auto is_answered = std::make_shared<bool>(false);
  const Waiting waiting(*this);
  Periodic look(kLookInterval);
  // By questions: c10d prints a line and its stack for each wait of its own whose time passes.
  for (Nap nap = make_nap();; nap.take()) {
    operate(
        [question, is_answered, census = prefix_ + "census"](c10d::Store& s) {
          // Who comes too late finds all that it waits for, but the others have given up.
          *is_answered = question(s) && !s.check({census});
        },
        std::max(deadline.left(), milliseconds(0)) + kStoreGrace, &deadline);
    if (*is_answered) return;
    const uint64_t heard = times_heard();
    if (interrupted()) take_census(failure(""));
    if (look.is_due() && peer_abandoned()) take_census(step);
    if (times_heard() != heard) deadline.hear_of_work();
    if (deadline.passed()) take_census(step);
  }
}

bool StorePlanes::peer_abandoned() {
  require_healthy();
  if (interrupted()) return true;
  struct Look {
    bool abandoned = false;
    WorkLook work;
  };
  const auto look = compute<Look>([seen = signs_, prefix = prefix_](c10d::Store& s) {
    if (s.check({prefix + "census"})) return Look{true, {}};
    return Look{false, look_for_work(s, prefix, seen)};
  });
  if (look.abandoned) return true;
  signs_ = look.work.signs;
  if (look.work.rank >= 0 && look.work.rank != rank()) {
    hear_of_work(look.work.rank, look.work.what, look.work.times_together);
  }
  return false;
}

std::unique_ptr<OwnWork> StorePlanes::begin_work(const std::string& what) {
  if (world_size() == 1 || broken()) return nullptr;
  return write_work(store_, prefix_, {0, rank(), times_together(), what}, timeout(), waits());
}

StoreMeeting StorePlanes::meeting_of(uint64_t call) const {
  return {prefix_ + std::to_string(call) + "/"};
}

bool StorePlanes::arrive_at(const StoreMeeting& meeting, const MeetingPart& own) {
  return compute<bool>([meeting, own, ranks = world_size()](c10d::Store& s) {
    return arrive(s, meeting, own, ranks);
  });
}

std::string StorePlanes::meet(const Step& step, const std::string& message) {
  require_healthy();
  if (world_size() == 1) return combine(step, {message});
  Deadline deadline(timeout());
  drop_finished();
  const StoreMeeting meeting = meeting_of(next_++);
  MeetingPart outcome;
  if (arrive_at(meeting, {rank(), step, pending_.empty(), message, 0})) {
    outcome = lead(meeting, step);
  } else if (rank() == step.root) {
    // What it would read is its own.
    outcome.message = message;
  } else {
    const auto read = std::make_shared<MeetingPart>();
    await(
        [meeting, read](c10d::Store& s) {
          if (!s.check({meeting.outcome()})) return false;
          *read = read_outcome(s, meeting);
          return true;
        },
        step, deadline);
    outcome = std::move(*read);
  }
  last_meeting_ = meeting;
  if (outcome.is_clear) forget_chunks();
  return std::move(outcome.message);
}

/// Of the rank that came last: all others wait for it.
MeetingPart StorePlanes::lead(const StoreMeeting& meeting, const Step& step) {
  // Who comes too late is the last as well, but the others have given up.
  if (has("census")) take_census(step);
  const auto parts = compute<std::vector<MeetingPart>>(
      [meeting, ranks = world_size()](c10d::Store& s) { return collect(s, meeting, ranks); });
  MeetingPart outcome{rank(), step, step.kind != CallKind::kBroadcastMessage, "", 0};
  std::vector<std::string> messages;
  for (const MeetingPart& part : parts) {
    if (part.step != parts.front().step) {
      publish(different_steps(0, parts.front().step, part.rank, part.step, backend()));
    }
    outcome.is_clear = outcome.is_clear && part.is_clear;
    messages.push_back(part.message);
  }
  outcome.message = combine(step, std::move(messages));
  operate([meeting, outcome, last = last_meeting_](c10d::Store& s) {
    write_outcome(s, meeting, outcome);
    // Who has come to this meeting has left the one before.
    if (last) delete_outcome(s, *last);
  });
  return outcome;
}

void StorePlanes::require_same(int other, const Step& theirs, const Step& mine) {
  if (theirs == mine) return;
  publish(other < rank() ? different_steps(other, theirs, rank(), mine, backend())
                         : different_steps(rank(), mine, other, theirs, backend()));
}

/// If there is a verdict already, that one counts.
void StorePlanes::publish(const ErrorInfo& info) {
  const Bytes mine = to_bytes(encode_error(info));
  // The first verdict wins, so that all ranks raise the same.
  const Bytes winner = compute<Bytes>([prefix = prefix_, mine](c10d::Store& s) {
    s.set(prefix + "census", Bytes{1});
    return s.compareSet(prefix + "verdict", {}, mine);
  });
  fail(decode_error(std::string(winner.begin(), winner.end())));
}

/// The step of a rank that cannot go on; without a reason it follows another rank.
Step StorePlanes::failure(const std::string& reason) const {
  const bool is_own = reason.empty() && interrupted();
  return {CallKind::kFailure, -1, -1, is_own ? "the call was interrupted" : reason};
}

ErrorInfo StorePlanes::abandon(const std::string& reason) {
  return failure_of([&] {
    require_healthy();
    take_census(failure(reason));
  });
}

void StorePlanes::take_census(const Step& step) {
  const std::string answered = prefix_ + "answered";
  const std::string answers_key = prefix_ + "answers";
  operate([prefix = prefix_, answered, answers_key, rank = rank(),
           answer = answer_with(step)](c10d::Store& s) {
    write_answer(s, answers_key, rank, answer);
    s.add(answered, 1);
    s.set(prefix + "census", Bytes{1});
  });
  const auto wait = [&](milliseconds time, const Question& question) {
    const auto deadline = Clock::now() + time;
    for (Nap nap = make_nap(); !compute<bool>(question) && Clock::now() < deadline;) nap.take();
  };
  const Question is_judged = [verdict = prefix_ + "verdict"](c10d::Store& s) {
    return s.check({verdict});
  };
  wait(kCensusListens, [is_judged, answered, ranks = world_size()](c10d::Store& s) {
    return s.add(answered, 0) >= ranks || is_judged(s);
  });
  // One rank reads all answers. Where it is lost as well, all others do.
  const bool judges =
      compute<bool>([judge = prefix_ + "judge"](c10d::Store& s) { return s.add(judge, 1) == 1; });
  if (!judges) wait(kJudgeTime, is_judged);
  const auto answers =
      compute<Answers>([is_judged, answers_key, ranks = world_size()](c10d::Store& s) {
        return is_judged(s) ? Answers() : read_answers(s, answers_key, ranks);
      });
  publish(answers.empty() ? ErrorInfo() : judge_census(answers, backend(), timeout()));
}

/// Who serves the store waits for the others; where no rank does, the last cleans up.
void StorePlanes::say_goodbye() noexcept {
  if (broken() || world_size() == 1) return;
  try {
    const auto gone = std::make_shared<int64_t>(0);
    operate(
        [gone, prefix = prefix_,
         unread =
             server_.rank < 0 ? keys_of_chunks() : std::vector<std::string>()](c10d::Store& s) {
          for (const std::string& key : unread)
            s.append(prefix + "leftovers", to_bytes(key + "\n"));
          *gone = s.add(prefix + "gone", 1);
        },
        kGoodbye);
    if (server_.rank < 0 && *gone == world_size()) {
      operate(
          [prefix = prefix_, last = last_meeting_](c10d::Store& s) { clean_up(s, prefix, last); },
          kGoodbye);
    }
    if (rank() != server_.rank) return;
    const auto end = Clock::now() + kGoodbye;
    for (Nap nap = make_nap(); *gone < world_size() && Clock::now() < end; nap.take()) {
      operate([gone, key = prefix_ + "gone"](c10d::Store& s) { *gone = s.add(key, 0); }, kGoodbye);
    }
  } catch (...) {
    return;  // a peer that says no goodbye in time is not waited for
  }
}

std::unique_ptr<Communicator> make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                      int rank, int world_size,
                                                      const std::string& key_prefix,
                                                      milliseconds timeout, StoreServer server) {
  if (!store || world_size < 1 || rank < 0 || rank >= world_size) {
    throw ConfigError("store communicator", "needs a store and a rank within its world; rank is " +
                                                std::to_string(rank) + " of " +
                                                std::to_string(world_size));
  }
  const auto planes = std::make_shared<StorePlanes>(std::move(store), rank, world_size, key_prefix,
                                                    timeout, std::move(server));
  return std::make_unique<Communicator>(planes, planes);
}

}  // namespace fakescore::detail

namespace fakescore {

std::unique_ptr<Communicator> make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                      int rank, int world_size,
                                                      const std::string& key_prefix,
                                                      std::chrono::milliseconds timeout) {
  return detail::make_store_communicator(std::move(store), rank, world_size, key_prefix, timeout,
                                         detail::StoreServer{});
}

}  // namespace fakescore
