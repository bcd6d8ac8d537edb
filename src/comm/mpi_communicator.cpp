// Ranks of an MPI job. Every wait polls MPI_Test against the deadline: a dead or stopped peer shows
// in nothing else.
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <functional>
#include <thread>

#include "comm/base_communicator.hpp"
#include "comm/mpi_census.hpp"
#include "comm/mpi_session.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace {

using detail::CallKind;
using detail::Clock;
using detail::Step;

/// MPI counts in ints: what is longer travels in parts.
constexpr size_t kMaxPart = size_t{1} << 30;
constexpr std::chrono::microseconds kPollPause{20};
/// Ranks with cores of their own keep polling this long before they pause.
constexpr std::chrono::milliseconds kLongSpin{2};
constexpr std::chrono::microseconds kShortSpin{5};
/// Pauses between two looks for a peer's census.
constexpr int kPausesPerProbe = 50;

struct Header {
  uint64_t bytes;
  uint64_t step;  ///< hash of the step, so that ranks that call different ones find out
};

uint64_t hash(const Step& step) { return std::hash<std::string>{}(detail::serialize(step)); }

class MpiCommunicator : public detail::BaseCommunicator {
 public:
  MpiCommunicator(MPI_Comm comm, MPI_Comm census, int rank, int world_size,
                  std::chrono::milliseconds timeout, bool own_cores)
      : BaseCommunicator(rank, world_size, timeout),
        comm_(comm),
        census_(census),
        spin_(own_cores ? std::chrono::duration_cast<Clock::duration>(kLongSpin)
                        : std::chrono::duration_cast<Clock::duration>(kShortSpin)) {}
  ~MpiCommunicator() override;

  const char* backend() const noexcept override { return "mpi"; }
  std::vector<std::string> all_gather(const std::string& message, const std::string& what) override;
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override;
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;

  /// Polls until the request is done; throws CommError at the deadline.
  void finish(MPI_Request& request, const Step& step);
  std::vector<MPI_Request> begin_parts(void* data, size_t bytes, int root, const Step& step);

 private:
  void check(int code, const Step& step);
  void broadcast_bytes(void* data, size_t bytes, int root, const Step& step);
  [[noreturn]] void lose_peers(const Step& step);
  [[noreturn]] void differ(const Step& step);
  [[noreturn]] void break_with(ErrorInfo info);

  MPI_Comm comm_;
  MPI_Comm census_;
  Clock::duration spin_;
};

class MpiBroadcast : public PendingBroadcast {
 public:
  MpiBroadcast(MpiCommunicator& communicator, Step step, at::Tensor buffer,
               std::vector<MPI_Request> requests)
      : communicator_(communicator),
        step_(std::move(step)),
        buffer_(std::move(buffer)),
        requests_(std::move(requests)) {}

  ~MpiBroadcast() override {
    // MPI may still write to an unfinished broadcast's memory: it stays allocated.
    if (!done_) static_cast<void>(new at::Tensor(std::move(buffer_)));
  }

  void wait() override {
    for (MPI_Request& request : requests_) communicator_.finish(request, step_);
    done_ = true;
  }

 private:
  MpiCommunicator& communicator_;
  Step step_;
  at::Tensor buffer_;
  std::vector<MPI_Request> requests_;
  bool done_ = false;
};

MpiCommunicator::~MpiCommunicator() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (broken() || finalized != 0) return;
  MPI_Comm_free(&comm_);
  MPI_Comm_free(&census_);
}

void MpiCommunicator::break_with(ErrorInfo info) {
  detail::never_finalize_mpi();
  fail(std::move(info));
}

void MpiCommunicator::lose_peers(const Step& step) {
  break_with(detail::judge_census(detail::take_mpi_census(census_, rank(), world_size(), step),
                                  backend(), timeout()));
}

/// All ranks of the call see that their steps differ, so all of them take part in the census.
void MpiCommunicator::differ(const Step& step) {
  const auto answers = detail::take_mpi_census(census_, rank(), world_size(), step);
  size_t first = 0;
  while (first + 1 < answers.size() && !answers[first]) ++first;
  for (size_t other = first + 1; other < answers.size(); ++other) {
    if (!answers[other] || *answers[other] == *answers[first]) continue;
    break_with(detail::different_steps(static_cast<int>(first), *answers[first],
                                       static_cast<int>(other), *answers[other], backend()));
  }
  break_with(detail::judge_census(answers, backend(), timeout()));
}

void MpiCommunicator::check(int code, const Step& step) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  break_with({ErrorCode::kPeerLost, -1, "", step.what,
              "MPI failed: " + std::string(text.data(), static_cast<size_t>(length)),
              "look at the other ranks' logs and start the job again"});
}

void MpiCommunicator::finish(MPI_Request& request, const Step& step) {
  require_healthy();
  const auto begin = Clock::now();
  int pauses = 0;
  while (true) {
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), step);
    if (done != 0) return;
    const auto waited = Clock::now() - begin;
    if (waited < spin_) continue;
    if (waited > timeout()) lose_peers(step);
    if (++pauses % kPausesPerProbe == 0 && detail::census_has_begun(census_)) lose_peers(step);
    std::this_thread::sleep_for(kPollPause);
  }
}

std::vector<MPI_Request> MpiCommunicator::begin_parts(void* data, size_t bytes, int root,
                                                      const Step& step) {
  std::vector<MPI_Request> requests;
  for (size_t offset = 0; offset < bytes; offset += kMaxPart) {
    requests.push_back(MPI_REQUEST_NULL);
    check(MPI_Ibcast(static_cast<std::byte*>(data) + offset,
                     static_cast<int>(std::min(kMaxPart, bytes - offset)), MPI_BYTE, root, comm_,
                     &requests.back()),
          step);
  }
  return requests;
}

void MpiCommunicator::broadcast_bytes(void* data, size_t bytes, int root, const Step& step) {
  for (MPI_Request& request : begin_parts(data, bytes, root, step)) finish(request, step);
}

std::vector<std::string> MpiCommunicator::all_gather(const std::string& message,
                                                     const std::string& what) {
  require_healthy();
  const Step step{CallKind::kAllGather, -1, -1, what};
  const Header own{message.size(), hash(step)};
  std::vector<Header> headers(static_cast<size_t>(world_size()));
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Iallgather(&own, sizeof(Header), MPI_BYTE, headers.data(), sizeof(Header), MPI_BYTE,
                       comm_, &request),
        step);
  finish(request, step);
  std::vector<std::string> messages;
  for (const Header& header : headers) {
    if (header.step != own.step) differ(step);
    messages.emplace_back(header.bytes, '\0');
  }
  messages[static_cast<size_t>(rank())] = message;
  for (int sender = 0; sender < world_size(); ++sender) {
    std::string& received = messages[static_cast<size_t>(sender)];
    broadcast_bytes(received.data(), received.size(), sender, step);
  }
  return messages;
}

std::string MpiCommunicator::broadcast_message(const std::string& message, int root,
                                               const std::string& what) {
  require_healthy();
  require_root(root, what);
  const Step step{CallKind::kBroadcastMessage, root, -1, what};
  Header header{message.size(), hash(step)};
  broadcast_bytes(&header, sizeof(header), root, step);
  if (header.step != hash(step)) differ(step);
  std::string received = rank() == root ? message : std::string(header.bytes, '\0');
  broadcast_bytes(received.data(), received.size(), root, step);
  return received;
}

std::unique_ptr<PendingBroadcast> MpiCommunicator::start_broadcast(const at::Tensor& buffer,
                                                                   int root,
                                                                   const std::string& what) {
  require_healthy();
  require_root(root, what);
  require_buffer(buffer, what);
  Step step{CallKind::kBroadcast, root, buffer.numel(), what};
  // MPI_Ibcast's buffer is not const, though the root's is only read: it may be a read-only
  // mapping.
  auto requests = begin_parts(const_cast<void*>(buffer.const_data_ptr()),
                              static_cast<size_t>(buffer.numel()), root, step);
  return std::make_unique<MpiBroadcast>(*this, std::move(step), buffer, std::move(requests));
}

bool ranks_have_own_cores(MPI_Comm comm) {
  MPI_Comm host = MPI_COMM_NULL;
  MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
  int ranks = 1;
  MPI_Comm_size(host, &ranks);
  MPI_Comm_free(&host);
  return ranks <= ::sysconf(_SC_NPROCESSORS_ONLN);
}

}  // namespace

bool has_mpi() noexcept { return true; }

std::unique_ptr<Communicator> make_mpi_communicator(std::chrono::milliseconds timeout) {
  detail::ensure_mpi();
  std::array<MPI_Comm, 2> comms{MPI_COMM_NULL, MPI_COMM_NULL};
  for (MPI_Comm& comm : comms) {
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  }
  int rank = 0;
  int world_size = 1;
  MPI_Comm_rank(comms[0], &rank);
  MPI_Comm_size(comms[0], &world_size);
  return std::make_unique<MpiCommunicator>(comms[0], comms[1], rank, world_size, timeout,
                                           ranks_have_own_cores(comms[0]));
}

}  // namespace fakescore
