#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>
#include <vector>

#include "comm/control/chunked_broadcast.hpp"
#include "comm/control/chunked_parcel.hpp"
#include "comm/control/host_planes.hpp"
#include "comm/control/nap.hpp"
#include "comm/control/periodic.hpp"
#include "comm/control/side_thread.hpp"
#include "comm/control/store_meeting.hpp"

namespace fakescore::detail {

/// Who serves the store, for errors and for the end of the job.
struct StoreServer {
  std::string name = "the store";  ///< "rank 0's store", "torchrun's store"
  int rank = -1;                   ///< the rank that serves it; -1 where none does
};

/// Ranks over a c10d store. Calls are numbered alike on every rank, and the keys of call n begin
/// with "n/"; a rank that called something else is found out by whoever reads what it wrote.
class StorePlanes : public HostPlanes {
 public:
  StorePlanes(c10::intrusive_ptr<c10d::Store> store, int rank, int world_size,
              const std::string& key_prefix, std::chrono::milliseconds timeout, StoreServer server);
  ~StorePlanes() override;

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override;
  ErrorInfo abandon(const std::string& reason) override;
  bool peer_abandoned() override;
  std::unique_ptr<OwnWork> begin_work(const std::string& what) override;
  /// Brings every broadcast up to and including `last` to its end on this rank.
  void finish(const std::shared_ptr<ChunkedBroadcast>& last);

 private:
  using Operation = std::function<void(c10d::Store&)>;
  using Question = std::function<bool(c10d::Store&)>;

  std::string meet(const Step& step, const std::string& message) override;
  StoreMeeting meeting_of(uint64_t call) const;
  /// Whether this rank is the last to come.
  bool arrive_at(const StoreMeeting& meeting, const MeetingPart& own);
  MeetingPart lead(const StoreMeeting& meeting, const Step& step);

  void operate(Operation operation, std::chrono::milliseconds limit = std::chrono::milliseconds(0),
               Deadline* waiting_for = nullptr);
  template <typename Result>
  Result compute(std::function<Result(c10d::Store&)> operation) {
    auto result = std::make_shared<Result>();
    operate([result, operation](c10d::Store& store) { *result = operation(store); });
    return std::move(*result);
  }
  bool has(const std::string& key);
  /// Asks again and again until the answer is yes, within the deadline.
  void await(const Question& question, const Step& step, Deadline& deadline);
  Nap make_nap() const;

  void require_same(int other, const Step& theirs, const Step& mine);
  Step failure(const std::string& reason) const;
  [[noreturn]] void take_census(const Step& step);
  [[noreturn]] void publish(const ErrorInfo& info);
  [[noreturn]] void lose_store();
  void say_goodbye() noexcept;

  void announce(const ChunkedBroadcast& broadcast);
  bool send_chunk(ChunkedBroadcast& broadcast, bool may_wait, Deadline& deadline);
  bool has_room(const Step& step, bool may_wait, Deadline& deadline);
  void receive_chunk(ChunkedBroadcast& broadcast, Deadline& deadline);
  bool send_chunk(ChunkedParcel& parcel, const Step& step);
  bool receive_chunk(ChunkedParcel& parcel, const Step& step);
  void await_chunk(const std::vector<ChunkedParcel>& sends,
                   const std::vector<ChunkedParcel>& receives, const Step& step,
                   Deadline& deadline);
  void delete_keys(std::vector<std::string> keys);
  std::vector<std::string> keys_of_chunks() const;
  void forget_chunks();
  void drop_finished();
  std::string window_key(int root, int64_t window) const;

  c10::intrusive_ptr<c10d::Store> store_;
  StoreServer server_;
  std::string prefix_;
  SideThread worker_;
  uint64_t next_ = 0;
  std::optional<StoreMeeting> last_meeting_;
  int64_t signs_ = 0;  // signs of work that this rank has seen
  std::deque<std::shared_ptr<ChunkedBroadcast>> pending_;
  // Since the ranks last met with no broadcast unfinished:
  int64_t epoch_ = 0;
  int64_t sent_ = 0;  // chunks of this rank
  // The keys of each, as far as they may still be there.
  std::deque<std::vector<std::string>> unread_;
  // Chunks of parcels; the oldest may have been read.
  struct UnreadChunk {
    std::string key;
    size_t bytes = 0;
  };
  std::deque<UnreadChunk> unread_parcels_;
  size_t unread_bytes_ = 0;
};

std::unique_ptr<Communicator> make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                      int rank, int world_size,
                                                      const std::string& key_prefix,
                                                      std::chrono::milliseconds timeout,
                                                      StoreServer server);

}  // namespace fakescore::detail
