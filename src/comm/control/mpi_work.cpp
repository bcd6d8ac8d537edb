#include "comm/control/mpi_work.hpp"

#include <utility>
#include <vector>

#include "comm/control/heartbeat.hpp"

namespace fakescore::detail {
namespace {

/// Says to the other ranks that this one is at work; called by one thread at a time.
class MpiSigns {
 public:
  MpiSigns(MPI_Comm census, const Head& message) : census_(census), message_(message) {
    int world_size = 1;
    MPI_Comm_rank(census, &rank_);
    MPI_Comm_size(census, &world_size);
    requests_.resize(static_cast<size_t>(world_size), MPI_REQUEST_NULL);
  }

  void send() {
    for (int peer = 0; peer < static_cast<int>(requests_.size()); ++peer) {
      MPI_Request& request = requests_[static_cast<size_t>(peer)];
      int taken = 0;
      MPI_Test(&request, &taken, MPI_STATUS_IGNORE);
      // A peer that has not taken the last one needs no other.
      if (peer == rank_ || !taken) continue;
      MPI_Isend(&message_, sizeof message_, MPI_BYTE, peer, kWorkTag, census_, &request);
    }
  }

  bool are_taken() {
    int taken = 0;
    MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &taken, MPI_STATUSES_IGNORE);
    return taken != 0;
  }

 private:
  MPI_Comm census_;
  int rank_ = 0;
  Head message_;
  std::vector<MPI_Request> requests_;
};

class MpiWork : public OwnWork {
 public:
  MpiWork(std::shared_ptr<MpiGroup> group, std::shared_ptr<MpiSigns> signs,
          std::chrono::milliseconds timeout, std::shared_ptr<const std::atomic<bool>> waits)
      : group_(std::move(group)), signs_(signs), heartbeat_(make_heartbeat(timeout, [signs, waits] {
          if (!*waits) signs->send();
        })) {}
  ~MpiWork() override {
    if (heartbeat_ == nullptr) return;
    const bool is_in_mpi = !heartbeat_->stop();
    if (!is_in_mpi && signs_->are_taken()) return;
    if (is_in_mpi) {
      // What a call is stuck in may not be freed.
      group_->keep = true;
      keep_mpi_initialised();
    }
    // MPI may still read what it sends.
    static_cast<void>(std::make_unique<decltype(signs_)>(std::move(signs_)).release());
  }

 private:
  std::shared_ptr<MpiGroup> group_;
  std::shared_ptr<MpiSigns> signs_;
  std::unique_ptr<Heartbeat> heartbeat_;
};

}  // namespace

std::unique_ptr<OwnWork> send_work(std::shared_ptr<MpiGroup> group, const Head& message,
                                   std::chrono::milliseconds timeout,
                                   std::shared_ptr<const std::atomic<bool>> waits) {
  auto signs = std::make_shared<MpiSigns>(group->census, message);
  return std::make_unique<MpiWork>(std::move(group), std::move(signs), timeout, std::move(waits));
}

}  // namespace fakescore::detail
