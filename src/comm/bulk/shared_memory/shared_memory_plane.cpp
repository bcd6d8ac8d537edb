#include "comm/bulk/shared_memory/shared_memory_plane.hpp"

#include <string>
#include <utility>

#include "comm/bulk/controlled_plane.hpp"
#include "comm/bulk/shared_memory/segment_layout.hpp"
#include "comm/bulk/shared_memory/shared_backend.hpp"
#include "comm/bulk/shared_memory/shared_stream.hpp"

namespace fakescore::detail {
namespace {

/// Pieces after which a rank looks at the control plane again.
constexpr int kMostSteps = 256;

/// A broadcast or an exchange that is on its way.
struct SharedOperation {
  Exchange buffers;  ///< of a broadcast, one of the two
  std::string what;
  size_t open = 0;  ///< stretches that have not ended
};

std::byte* read_only(const at::Tensor& tensor) {
  // Streams that write take bytes from it, and put none.
  return static_cast<std::byte*>(const_cast<void*>(tensor.const_data_ptr()));
}

std::byte* writable(const at::Tensor& tensor) {
  return static_cast<std::byte*>(tensor.mutable_data_ptr());
}

class SharedMemoryPlane : public ControlledPlane {
 public:
  SharedMemoryPlane(const std::shared_ptr<ControlPlane>& control, SharedMemory memory)
      : ControlledPlane(control, kSharedMemory + (" over " + control->backend()), at::kCPU,
                        kSharedMemory),
        rank_(static_cast<size_t>(control->rank())),
        memory_(std::move(memory)) {
    make_streams();
  }

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override;
  /// Nothing waits here but what polls the control plane, and no peer knows this rank's buffers.
  void break_off(const std::string&) noexcept override {}
  void finish(const std::shared_ptr<SharedOperation>& operation);

 private:
  using Streams = std::vector<SharedStream>;

  void make_streams();
  SharedRing ring(size_t from, size_t to, std::vector<size_t> readers = {});
  static void add(SharedStream& stream, const std::shared_ptr<SharedOperation>& operation,
                  std::byte* data, int64_t bytes);
  std::unique_ptr<PendingOperation> begin(std::shared_ptr<SharedOperation> operation);
  bool advance(Streams& streams);
  bool advance();
  bool take_steps(const SharedOperation& operation);
  bool waits_for(size_t rank) const;
  std::vector<size_t> ended_processes() const;
  void require_no_end(const std::vector<size_t>& ended, const std::string& what);

  size_t rank_;
  SharedMemory memory_;
  // By rank; in this rank's own place, what it broadcasts.
  Streams sends_;
  Streams receives_;
  Streams broadcasts_;  ///< of other ranks
};

using PendingSharedOperation = PendingOnPlane<SharedMemoryPlane, SharedOperation>;

SharedRing SharedMemoryPlane::ring(size_t from, size_t to, std::vector<size_t> readers) {
  const SegmentLayout layout(control().world_size());
  return {layout.ring(memory_.segments[from].data(), static_cast<int>(from), static_cast<int>(to)),
          std::move(readers)};
}

void SharedMemoryPlane::make_streams() {
  const size_t ranks = memory_.segments.size();
  std::vector<size_t> others;
  for (size_t rank = 0; rank < ranks; ++rank) {
    if (rank != rank_) others.push_back(rank);
  }
  for (size_t rank = 0; rank < ranks; ++rank) {
    sends_.emplace_back(ring(rank_, rank, rank == rank_ ? others : std::vector<size_t>{rank}));
    receives_.emplace_back(ring(rank, rank_), rank_);
    broadcasts_.emplace_back(ring(rank, rank), rank_);
  }
}

void SharedMemoryPlane::add(SharedStream& stream, const std::shared_ptr<SharedOperation>& operation,
                            std::byte* data, int64_t bytes) {
  if (bytes == 0) return;
  ++operation->open;
  stream.add(data, static_cast<size_t>(bytes), operation->what, [operation] { --operation->open; });
}

std::unique_ptr<PendingOperation> SharedMemoryPlane::start_broadcast(const at::Tensor& buffer,
                                                                     int root,
                                                                     const std::string& what) {
  require_healthy();
  require_broadcast(buffer, root, what);
  auto operation = std::make_shared<SharedOperation>();
  operation->what = what;
  const auto from = static_cast<size_t>(root);
  if (from == rank_) {
    operation->buffers.outgoing = buffer;
    add(sends_[rank_], operation, read_only(buffer), buffer.numel());
  } else {
    operation->buffers.incoming = buffer;
    add(broadcasts_[from], operation, writable(buffer), buffer.numel());
  }
  return begin(std::move(operation));
}

std::unique_ptr<PendingOperation> SharedMemoryPlane::start_exchange(const Exchange& exchange,
                                                                    const std::string& what) {
  require_healthy();
  require_exchange(exchange, what);
  auto operation = std::make_shared<SharedOperation>(SharedOperation{exchange, what});
  const auto add_all = [&](Streams& streams, const std::vector<Parcel>& parcels, std::byte* data) {
    for (const Parcel& parcel : parcels) {
      add(streams[static_cast<size_t>(parcel.rank)], operation, data, parcel.bytes);
      data += parcel.bytes;
    }
  };
  add_all(sends_, exchange.sends, read_only(exchange.outgoing));
  add_all(receives_, exchange.receives, writable(exchange.incoming));
  return begin(std::move(operation));
}

/// What there is room for goes at once, so that the caller's own work overlaps with the peers'.
std::unique_ptr<PendingOperation> SharedMemoryPlane::begin(
    std::shared_ptr<SharedOperation> operation) {
  take_steps(*operation);
  return std::make_unique<PendingSharedOperation>(*this, std::move(operation));
}

bool SharedMemoryPlane::advance(Streams& streams) {
  bool has_moved = false;
  for (size_t rank = 0; rank < streams.size(); ++rank) {
    try {
      has_moved = streams[rank].advance() || has_moved;
    } catch (const DifferentStretches& error) {
      lose(error.operation(),
           "rank " + std::to_string(rank) + " called another operation: " + error.what());
    }
  }
  return has_moved;
}

/// One piece of each stream, of whatever operation is its next; false if there was no room and
/// nothing to take.
bool SharedMemoryPlane::advance() {
  const bool has_sent = advance(sends_);
  const bool has_received = advance(receives_);
  return advance(broadcasts_) || has_sent || has_received;
}

/// As many as there are to take, for a while; false if there was none.
bool SharedMemoryPlane::take_steps(const SharedOperation& operation) {
  int steps = 0;
  while (steps < kMostSteps && operation.open > 0 && advance()) ++steps;
  return steps > 0;
}

bool SharedMemoryPlane::waits_for(size_t rank) const {
  return !sends_[rank_].is_idle() || !sends_[rank].is_idle() || !receives_[rank].is_idle() ||
         !broadcasts_[rank].is_idle();
}

std::vector<size_t> SharedMemoryPlane::ended_processes() const {
  std::vector<size_t> ended;
  for (size_t rank = 0; rank < memory_.processes.size(); ++rank) {
    if (waits_for(rank) && memory_.processes[rank].has_ended()) ended.push_back(rank);
  }
  return ended;
}

/// For processes that had ended before this rank took what there was.
void SharedMemoryPlane::require_no_end(const std::vector<size_t>& ended, const std::string& what) {
  for (const size_t rank : ended) {
    if (!waits_for(rank)) continue;
    lose(what, "the process of rank " + std::to_string(rank) + " has ended");
  }
}

void SharedMemoryPlane::finish(const std::shared_ptr<SharedOperation>& operation) {
  require_healthy();
  Deadline deadline(control().timeout());
  Periodic look_at_processes;
  poll_in_time(
      [&] {
        std::vector<size_t> ended;
        if (look_at_processes.is_due()) ended = ended_processes();
        const bool has_moved = take_steps(*operation);
        if (operation->open == 0) return true;
        if (has_moved) {
          deadline.renew(control().timeout());
        } else {
          require_no_end(ended, operation->what);
        }
        return false;
      },
      deadline, operation->what);
}

}  // namespace

std::shared_ptr<BulkPlane> make_shared_memory_plane(const std::shared_ptr<ControlPlane>& control,
                                                    SharedMemory memory) {
  return std::make_shared<SharedMemoryPlane>(control, std::move(memory));
}

}  // namespace fakescore::detail
