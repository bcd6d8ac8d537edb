#pragma once

#include <mpi.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "comm/control/host_planes.hpp"
#include "comm/control/mpi_messages.hpp"
#include "comm/control/mpi_session.hpp"

namespace fakescore::detail {

/// Bytes of one call of MPI's, which counts them in an int.
inline constexpr int64_t kMpiPiece = int64_t{1} << 30;

/// Requests, and the memory that MPI uses until they end.
struct MpiOperation {
  std::vector<MPI_Request> requests;
  std::vector<at::Tensor> buffers;
  std::vector<int> expected;  ///< bytes of the first requests, which receive parcels
  std::vector<int> senders;   ///< of those
  std::vector<Head> heads;
  Census census;
  MeetingHead meeting;
  std::string bytes;
  std::vector<char> received;
  std::vector<int> counts;
  std::vector<int> offsets;
};

class MpiPlanes : public HostPlanes {
 public:
  MpiPlanes(std::shared_ptr<MpiGroup> group, int rank, int world_size,
            std::chrono::milliseconds timeout);
  ~MpiPlanes() override;

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override;
  ErrorInfo abandon(const std::string& reason) override;
  bool peer_abandoned() override;
  std::unique_ptr<OwnWork> begin_work(const std::string& what) override;
  /// Collective, once. Not in the constructor: where it throws, the destructor has to run, for MPI
  /// may still write to what was in operation.
  void count_ranks_of_host();
  void finish(const std::shared_ptr<MpiOperation>& operation, const Step& step, Deadline& deadline);

 private:
  void require_usable(const std::string& what);
  std::shared_ptr<MpiOperation> begin_operation();
  std::string meet(const Step& step, const std::string& message) override;
  std::vector<Head> gather_heads(const Step& step, const std::string& message, Deadline& deadline);
  std::string lead(const Step& step, const std::string& message, const std::vector<Head>& heads,
                   Deadline& deadline);
  std::string follow(const Step& step, const std::string& message, Deadline& deadline);
  MeetingHead send_head(const Step& step, const MeetingHead& head, Deadline& deadline);
  void send_result(const Step& step, MeetingHead::Next next, const std::string& result,
                   Deadline& deadline);
  std::string send_bytes(const Step& step, std::string bytes, int64_t size, int root,
                         Deadline& deadline);
  std::vector<std::string> gather_messages(const Step& step, const std::string& message,
                                           int64_t longest, const std::vector<Head>& heads,
                                           Deadline& deadline);
  [[noreturn]] void take_census(const Step& step);
  void listen(Answers& answers);
  [[noreturn]] void give_up(ErrorInfo info);
  void require_success(int code, const std::string& what);

  std::shared_ptr<MpiGroup> group_;
  std::list<std::shared_ptr<MpiOperation>> operations_;
  int spins_;
};

}  // namespace fakescore::detail
