// Ranks over MPI. Everything is a non-blocking call polled against a deadline, for MPI itself
// never tells that a rank is gone.
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <list>
#include <thread>

#include "comm/base_communicator.hpp"
#include "comm/mpi_check.hpp"
#include "comm/mpi_messages.hpp"
#include "comm/mpi_session.hpp"
#include "comm/mpi_work.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace {

using detail::Answer;
using detail::Answers;
using detail::CallKind;
using detail::Census;
using detail::check_mpi;
using detail::Clock;
using detail::Deadline;
using detail::Head;
using detail::kCensusTag;
using detail::kWorkTag;
using detail::make_census;
using detail::make_head;
using detail::MpiGroup;
using detail::read_census;
using detail::read_step;
using detail::Step;

constexpr int64_t kPiece = int64_t{1} << 30;  // below what an int counts
constexpr auto kNap = std::chrono::microseconds(20);
constexpr int kPollsBetweenCensusLooks = 64;
constexpr int kShortSpin = 64;
constexpr int kLongSpin = 20000;

/// Requests and the memory that MPI uses until they end.
struct Flight {
  std::vector<MPI_Request> requests;
  at::Tensor buffer;
  std::vector<Head> heads;
  Census census;
  std::vector<char> bytes;
  std::vector<char> received;
  std::vector<int> counts;
  std::vector<int> offsets;
};

class MpiCommunicator : public detail::BaseCommunicator {
 public:
  MpiCommunicator(std::shared_ptr<MpiGroup> group, int rank, int world_size,
                  std::chrono::milliseconds timeout)
      : BaseCommunicator(rank, world_size, timeout, "mpi"), group_(std::move(group)) {}
  ~MpiCommunicator() override;

  std::vector<std::string> all_gather(const std::string& message, const std::string& what) override;
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override;
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  ErrorInfo abandon(const std::string& reason) override;
  bool peer_abandoned() override;
  std::unique_ptr<OwnWork> begin_work(const std::string& what) override;
  /// Collective, once. Not in the constructor: where it throws, the destructor has to run, for MPI
  /// may still write to what was in flight.
  void count_ranks_of_host();
  void finish(const std::shared_ptr<Flight>& flight, const Step& step, Deadline& deadline);

 private:
  void require_usable(const std::string& what);
  std::shared_ptr<Flight> take_off();
  std::vector<Head> exchange_heads(const Step& step, size_t bytes, Deadline& deadline);
  [[noreturn]] void take_census(const Step& step);
  void listen(Answers& answers);
  [[noreturn]] void give_up(ErrorInfo info);
  void require_success(int code, const std::string& what);

  std::shared_ptr<MpiGroup> group_;
  std::list<std::shared_ptr<Flight>> flights_;
  int spins_ = kShortSpin;
};

class MpiBroadcast : public PendingBroadcast {
 public:
  MpiBroadcast(MpiCommunicator& communicator, std::shared_ptr<Flight> flight, Step step)
      : communicator_(communicator), flight_(std::move(flight)), step_(std::move(step)) {}
  void wait() override {
    if (flight_->requests.empty()) return;
    Deadline deadline(communicator_.timeout());
    communicator_.finish(flight_, step_, deadline);
  }

 private:
  MpiCommunicator& communicator_;
  std::shared_ptr<Flight> flight_;
  Step step_;
};

MpiCommunicator::~MpiCommunicator() {
  if (flights_.empty() && !broken()) {
    if (!group_->closed) peer_abandoned();  // takes what nobody listened to
    detail::close_group(group_);
    return;
  }
  // MPI may still write into these buffers: they stay until the process ends.
  group_->keep = true;
  detail::keep_mpi_initialised();
  new std::list<std::shared_ptr<Flight>>(std::move(flights_));
}

void MpiCommunicator::count_ranks_of_host() {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  const auto hosts = all_gather(host, "hosts");
  // With a core for every rank of this host, polling takes nothing from the others.
  const auto ranks_here = std::count(hosts.begin(), hosts.end(), std::string(host));
  if (sysconf(_SC_NPROCESSORS_ONLN) >= ranks_here) spins_ = kLongSpin;
}

void MpiCommunicator::require_usable(const std::string& what) {
  require_healthy();
  if (!group_->closed) return;
  throw ConfigError({ErrorCode::kConfig, -1, "", what, "MPI is finalised already",
                     "finish with the communicator before MPI_Finalize"});
}

void MpiCommunicator::give_up(ErrorInfo info) {
  group_->keep = true;
  detail::keep_mpi_initialised();
  fail(std::move(info));
}

/// A call that failed leaves the ranks out of step: the communicator is of no more use.
void MpiCommunicator::require_success(int code, const std::string& what) {
  try {
    check_mpi(code, what);
  } catch (const CommError& error) {
    give_up(error.info());
  }
}

std::shared_ptr<Flight> MpiCommunicator::take_off() {
  flights_.push_back(std::make_shared<Flight>());
  return flights_.back();
}

void MpiCommunicator::finish(const std::shared_ptr<Flight>& flight, const Step& step,
                             Deadline& deadline) {
  require_usable(step.what);
  const Waiting waiting(*this);
  uint64_t heard = times_heard();
  for (int polls = 1;; ++polls) {
    int done = 0;
    require_success(MPI_Testall(static_cast<int>(flight->requests.size()), flight->requests.data(),
                                &done, MPI_STATUSES_IGNORE),
                    step.what);
    if (done) break;
    if (polls % kPollsBetweenCensusLooks == 0) {
      const bool abandoned = peer_abandoned();
      if (times_heard() != heard) deadline.hear_of_work();
      heard = times_heard();
      if (abandoned || deadline.passed()) take_census(step);
    }
    if (polls > spins_) std::this_thread::sleep_for(kNap);
  }
  flight->requests.clear();
  flight->buffer.reset();
  flights_.remove(flight);
}

ErrorInfo MpiCommunicator::abandon(const std::string& reason) {
  return failure_of([&] {
    require_usable(reason);
    take_census({CallKind::kFailure, -1, -1, reason});
  });
}

bool MpiCommunicator::peer_abandoned() {
  for (;;) {
    int called = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, group_->census, &called, &status);
    if (!called) return false;
    if (status.MPI_TAG == kCensusTag) return true;
    Head head;
    MPI_Recv(&head, sizeof head, MPI_BYTE, status.MPI_SOURCE, kWorkTag, group_->census,
             MPI_STATUS_IGNORE);
    hear_of_work(status.MPI_SOURCE, read_step(head).what, head.bytes);
  }
}

std::unique_ptr<OwnWork> MpiCommunicator::begin_work(const std::string& what) {
  int level = MPI_THREAD_SINGLE;
  if (world_size() == 1 || broken() || group_->closed || MPI_Query_thread(&level) != MPI_SUCCESS ||
      level < MPI_THREAD_MULTIPLE) {
    return nullptr;
  }
  // How often the ranks were together travels in place of a length.
  const auto message =
      make_head({CallKind::kAllGather, -1, -1, what}, static_cast<size_t>(times_together()));
  return detail::send_work(group_, message, timeout(), waits());
}

void MpiCommunicator::listen(Answers& answers) {
  for (int waiting = 1; waiting;) {
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, kCensusTag, group_->census, &waiting, &status);
    if (!waiting) return;
    Census census;
    MPI_Recv(&census, sizeof census, MPI_BYTE, status.MPI_SOURCE, kCensusTag, group_->census,
             MPI_STATUS_IGNORE);
    answers[static_cast<size_t>(status.MPI_SOURCE)] = read_census(census);
  }
}

void MpiCommunicator::take_census(const Step& step) {
  const auto flight = take_off();
  const Answer own = detail::cut_names(answer_with(step));
  flight->census = make_census(own);
  Answers answers(static_cast<size_t>(world_size()));
  answers[static_cast<size_t>(rank())] = own;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    MPI_Isend(&flight->census, sizeof flight->census, MPI_BYTE, peer, kCensusTag, group_->census,
              &flight->requests.emplace_back(MPI_REQUEST_NULL));
  }
  const auto deadline = Clock::now() + detail::kCensusListens;
  const auto silent = [&] { return std::count(answers.begin(), answers.end(), std::nullopt) > 0; };
  while (silent() && Clock::now() < deadline) {
    listen(answers);
    std::this_thread::sleep_for(kNap);
  }
  // Pushes out what is still to be sent; a peer that is gone never takes its part.
  int sent = 0;
  MPI_Testall(static_cast<int>(flight->requests.size()), flight->requests.data(), &sent,
              MPI_STATUSES_IGNORE);
  give_up(detail::judge_census(answers, backend(), timeout()));
}

std::vector<Head> MpiCommunicator::exchange_heads(const Step& step, size_t bytes,
                                                  Deadline& deadline) {
  const auto flight = take_off();
  flight->heads.resize(static_cast<size_t>(world_size()) + 1);
  flight->heads.back() = make_head(step, bytes);
  require_success(
      MPI_Iallgather(&flight->heads.back(), sizeof(Head), MPI_BYTE, flight->heads.data(),
                     sizeof(Head), MPI_BYTE, group_->control, &flight->requests.emplace_back()),
      step.what);
  finish(flight, step, deadline);
  flight->heads.pop_back();
  const Step first = read_step(flight->heads.front());
  for (int peer = 1; peer < world_size(); ++peer) {
    const Step theirs = read_step(flight->heads[static_cast<size_t>(peer)]);
    if (theirs != first) give_up(detail::different_steps(0, first, peer, theirs, backend()));
  }
  return flight->heads;
}

std::vector<std::string> MpiCommunicator::all_gather(const std::string& message,
                                                     const std::string& what) {
  require_usable(what);
  Deadline deadline(timeout());
  const Step step{CallKind::kAllGather, -1, -1, what};
  const std::vector<Head> heads = exchange_heads(step, message.size(), deadline);
  std::vector<std::string> messages(heads.size());
  const int64_t most = std::max_element(heads.begin(), heads.end(), [](auto& a, auto& b) {
                         return a.bytes < b.bytes;
                       })->bytes;
  // Offsets are ints as well: a round carries at most one piece in all.
  const int64_t share = kPiece / world_size();
  for (int64_t begin = 0; begin < most; begin += share) {
    const auto flight = take_off();
    int total = 0;
    for (const Head& head : heads) {
      flight->offsets.push_back(total);
      const int64_t left = head.bytes - begin;
      flight->counts.push_back(static_cast<int>(std::clamp<int64_t>(left, 0, share)));
      total += flight->counts.back();
    }
    const size_t mine = static_cast<size_t>(flight->counts[static_cast<size_t>(rank())]);
    if (mine > 0) flight->bytes.assign(message.data() + begin, message.data() + begin + mine);
    flight->received.resize(static_cast<size_t>(total));
    require_success(
        MPI_Iallgatherv(flight->bytes.data(), static_cast<int>(mine), MPI_BYTE,
                        flight->received.data(), flight->counts.data(), flight->offsets.data(),
                        MPI_BYTE, group_->control, &flight->requests.emplace_back()),
        what);
    finish(flight, step, deadline);
    for (size_t peer = 0; peer < heads.size(); ++peer) {
      messages[peer].append(flight->received.data() + flight->offsets[peer],
                            static_cast<size_t>(flight->counts[peer]));
    }
  }
  hear_of_all(what);
  return messages;
}

std::string MpiCommunicator::broadcast_message(const std::string& message, int root,
                                               const std::string& what) {
  require_usable(what);
  require_root(root, what);
  Deadline deadline(timeout());
  const Step step{CallKind::kBroadcastMessage, root, -1, what};
  const std::vector<Head> heads = exchange_heads(step, message.size(), deadline);
  const auto flight = take_off();
  const int64_t bytes = heads[static_cast<size_t>(root)].bytes;
  if (rank() == root) flight->bytes.assign(message.begin(), message.end());
  flight->bytes.resize(static_cast<size_t>(bytes));
  for (int64_t begin = 0; begin < bytes; begin += kPiece) {
    require_success(
        MPI_Ibcast(flight->bytes.data() + begin, static_cast<int>(std::min(kPiece, bytes - begin)),
                   MPI_BYTE, root, group_->control, &flight->requests.emplace_back()),
        what);
  }
  finish(flight, step, deadline);
  return std::string(flight->bytes.begin(), flight->bytes.end());
}

std::unique_ptr<PendingBroadcast> MpiCommunicator::start_broadcast(const at::Tensor& buffer,
                                                                   int root,
                                                                   const std::string& what) {
  require_usable(what);
  require_root(root, what);
  require_buffer(buffer, device(), what);
  Step step{CallKind::kBroadcast, root, buffer.numel(), what};
  const auto flight = take_off();
  flight->buffer = buffer;
  char* data = static_cast<char*>(buffer.mutable_data_ptr());
  for (int64_t begin = 0; begin < step.bytes; begin += kPiece) {
    require_success(MPI_Ibcast(data + begin, static_cast<int>(std::min(kPiece, step.bytes - begin)),
                               MPI_BYTE, root, group_->bulk, &flight->requests.emplace_back()),
                    what);
  }
  if (flight->requests.empty()) flights_.remove(flight);
  return std::make_unique<MpiBroadcast>(*this, flight, std::move(step));
}

}  // namespace

bool has_mpi() noexcept { return true; }

std::unique_ptr<Communicator> make_mpi_communicator(std::chrono::milliseconds timeout) {
  auto group = detail::open_group(std::min(timeout, Communicator::kLongestTimeout));
  int rank = 0;
  int world_size = 1;
  check_mpi(MPI_Comm_rank(group->control, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(group->control, &world_size), "MPI_Comm_size");
  auto communicator =
      std::make_unique<MpiCommunicator>(std::move(group), rank, world_size, timeout);
  communicator->count_ranks_of_host();
  return communicator;
}

}  // namespace fakescore
