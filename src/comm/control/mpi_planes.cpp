// Ranks over MPI. Everything is a non-blocking call polled against a deadline, for MPI itself
// never tells that a rank is gone.
#include "comm/control/mpi_planes.hpp"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <thread>

#include "comm/control/mpi_check.hpp"
#include "comm/control/mpi_work.hpp"
#include "comm/host.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore::detail {
namespace {

constexpr auto kNap = std::chrono::microseconds(20);
constexpr int kPollsBetweenCensusLooks = 64;
constexpr int kShortSpin = 64;
constexpr int kLongSpin = 20000;

class MpiBulk : public PendingOperation {
 public:
  MpiBulk(MpiPlanes& planes, std::shared_ptr<MpiOperation> operation, Step step)
      : planes_(planes), operation_(std::move(operation)), step_(std::move(step)) {}
  void wait() override {
    if (operation_->requests.empty()) return;
    Deadline deadline(planes_.timeout());
    planes_.finish(operation_, step_, deadline);
  }

 private:
  MpiPlanes& planes_;
  std::shared_ptr<MpiOperation> operation_;
  Step step_;
};

/// Calls `use` for each stretch of the parcels that one call of MPI's can carry.
template <typename Use>
void for_each_piece(const at::Tensor& buffer, const std::vector<Parcel>& parcels, Use use) {
  char* data = static_cast<char*>(buffer.mutable_data_ptr());
  for (const Parcel& parcel : parcels) {
    for (int64_t begin = 0; begin < parcel.bytes; begin += kMpiPiece) {
      use(data + begin, static_cast<int>(std::min(kMpiPiece, parcel.bytes - begin)), parcel.rank);
    }
    data += parcel.bytes;
  }
}

}  // namespace

MpiPlanes::MpiPlanes(std::shared_ptr<MpiGroup> group, int rank, int world_size,
                     std::chrono::milliseconds timeout)
    : HostPlanes(rank, world_size, timeout, "mpi"), group_(std::move(group)), spins_(kShortSpin) {}

MpiPlanes::~MpiPlanes() {
  if (operations_.empty() && !broken()) {
    if (!group_->closed) peer_abandoned();  // takes what nobody listened to
    close_group(group_);
    return;
  }
  // MPI may still write into these buffers: they stay until the process ends.
  group_->keep = true;
  keep_mpi_initialised();
  new std::list<std::shared_ptr<MpiOperation>>(std::move(operations_));
}

void MpiPlanes::count_ranks_of_host() {
  const std::string host = host_id();
  const auto hosts = all_gather(host, "hosts");
  // With a core for every rank of this host, polling takes nothing from the others.
  const auto ranks_here = std::count(hosts.begin(), hosts.end(), host);
  if (sysconf(_SC_NPROCESSORS_ONLN) >= ranks_here) spins_ = kLongSpin;
}

void MpiPlanes::require_usable(const std::string& what) {
  require_healthy();
  if (!group_->closed) return;
  throw ConfigError(what, "MPI is finalised already",
                    "finish with the communicator before MPI_Finalize");
}

void MpiPlanes::give_up(ErrorInfo info) {
  group_->keep = true;
  keep_mpi_initialised();
  fail(std::move(info));
}

/// A call that failed leaves the ranks out of step: the communicator is of no more use.
void MpiPlanes::require_success(int code, const std::string& what) {
  try {
    check_mpi(code, what);
  } catch (const CommError& error) {
    give_up(error.info());
  }
}

std::shared_ptr<MpiOperation> MpiPlanes::begin_operation() {
  operations_.push_back(std::make_shared<MpiOperation>());
  return operations_.back();
}

void MpiPlanes::finish(const std::shared_ptr<MpiOperation>& operation, const Step& step,
                       Deadline& deadline) {
  require_usable(step.what);
  const Waiting waiting(*this);
  uint64_t heard = times_heard();
  std::vector<MPI_Status> statuses(operation->requests.size());
  for (int polls = 1;; ++polls) {
    int done = 0;
    require_success(MPI_Testall(static_cast<int>(operation->requests.size()),
                                operation->requests.data(), &done, statuses.data()),
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
  for (size_t i = 0; i < operation->expected.size(); ++i) {
    int received = 0;
    MPI_Get_count(&statuses[i], MPI_BYTE, &received);
    if (received == operation->expected[i]) continue;
    const ErrorInfo info = different_parcels(operation->senders[i], rank(),
                                             static_cast<size_t>(operation->expected[i]), step);
    take_census({CallKind::kFailure, -1, -1, info.message});
  }
  operation->requests.clear();
  operation->buffers.clear();
  operations_.remove(operation);
}

ErrorInfo MpiPlanes::abandon(const std::string& reason) {
  return failure_of([&] {
    require_usable(reason);
    take_census({CallKind::kFailure, -1, -1, reason});
  });
}

bool MpiPlanes::peer_abandoned() {
  require_healthy();
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

std::unique_ptr<OwnWork> MpiPlanes::begin_work(const std::string& what) {
  int level = MPI_THREAD_SINGLE;
  if (world_size() == 1 || broken() || group_->closed || MPI_Query_thread(&level) != MPI_SUCCESS ||
      level < MPI_THREAD_MULTIPLE) {
    return nullptr;
  }
  // How often the ranks were together travels in place of a length.
  const auto message =
      make_head({CallKind::kAllGather, -1, -1, what}, static_cast<size_t>(times_together()));
  return send_work(group_, message, timeout(), waits());
}

void MpiPlanes::listen(Answers& answers) {
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

void MpiPlanes::take_census(const Step& step) {
  const auto operation = begin_operation();
  const Answer own = cut_names(answer_with(step));
  operation->census = make_census(own);
  Answers answers(static_cast<size_t>(world_size()));
  answers[static_cast<size_t>(rank())] = own;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    MPI_Isend(&operation->census, sizeof operation->census, MPI_BYTE, peer, kCensusTag,
              group_->census, &operation->requests.emplace_back(MPI_REQUEST_NULL));
  }
  const auto deadline = Clock::now() + kCensusListens;
  const auto silent = [&] { return std::count(answers.begin(), answers.end(), std::nullopt) > 0; };
  while (silent() && Clock::now() < deadline) {
    listen(answers);
    std::this_thread::sleep_for(kNap);
  }
  // Pushes out what is still to be sent; a peer that is gone never takes its part.
  int sent = 0;
  MPI_Testall(static_cast<int>(operation->requests.size()), operation->requests.data(), &sent,
              MPI_STATUSES_IGNORE);
  give_up(judge_census(answers, backend(), timeout()));
}

std::unique_ptr<PendingOperation> MpiPlanes::start_broadcast(const at::Tensor& buffer, int root,
                                                             const std::string& what) {
  require_usable(what);
  require_broadcast(buffer, root, what);
  Step step{CallKind::kBroadcast, root, buffer.numel(), what};
  const auto operation = begin_operation();
  operation->buffers = {buffer};
  char* data = static_cast<char*>(buffer.mutable_data_ptr());
  for (int64_t begin = 0; begin < step.bytes; begin += kMpiPiece) {
    require_success(
        MPI_Ibcast(data + begin, static_cast<int>(std::min(kMpiPiece, step.bytes - begin)),
                   MPI_BYTE, root, group_->bulk, &operation->requests.emplace_back()),
        what);
  }
  if (operation->requests.empty()) operations_.remove(operation);
  return std::make_unique<MpiBulk>(*this, operation, std::move(step));
}

std::unique_ptr<PendingOperation> MpiPlanes::start_exchange(const Exchange& exchange,
                                                            const std::string& what) {
  require_usable(what);
  const Step step = require_exchange(exchange, what);
  const auto operation = begin_operation();
  operation->buffers = {exchange.outgoing, exchange.incoming};
  // Calls between two ranks meet in their order: one tag is enough.
  for_each_piece(exchange.incoming, exchange.receives, [&](char* data, int bytes, int from) {
    operation->expected.push_back(bytes);
    operation->senders.push_back(from);
    require_success(MPI_Irecv(data, bytes, MPI_BYTE, from, kExchangeTag, group_->bulk,
                              &operation->requests.emplace_back()),
                    what);
  });
  for_each_piece(exchange.outgoing, exchange.sends, [&](char* data, int bytes, int to) {
    require_success(MPI_Isend(data, bytes, MPI_BYTE, to, kExchangeTag, group_->bulk,
                              &operation->requests.emplace_back()),
                    what);
  });
  if (operation->requests.empty()) operations_.remove(operation);
  return std::make_unique<MpiBulk>(*this, operation, step);
}

}  // namespace fakescore::detail

namespace fakescore {

bool has_mpi() noexcept { return true; }

std::unique_ptr<Communicator> make_mpi_communicator(std::chrono::milliseconds timeout) {
  auto group = detail::open_group(std::min(timeout, Communicator::kLongestTimeout));
  int rank = 0;
  int world_size = 1;
  detail::check_mpi(MPI_Comm_rank(group->control, &rank), "MPI_Comm_rank");
  detail::check_mpi(MPI_Comm_size(group->control, &world_size), "MPI_Comm_size");
  const auto planes =
      std::make_shared<detail::MpiPlanes>(std::move(group), rank, world_size, timeout);
  planes->count_ranks_of_host();
  return std::make_unique<Communicator>(planes, planes);
}

}  // namespace fakescore
