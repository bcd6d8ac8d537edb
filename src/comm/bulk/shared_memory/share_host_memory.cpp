// Bulk data between ranks of one host.
#include <algorithm>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "comm/bulk/controlled_plane.hpp"
#include "comm/bulk/shared_memory/peer_process.hpp"
#include "comm/bulk/shared_memory/segment_layout.hpp"
#include "comm/bulk/shared_memory/shared_backend.hpp"
#include "comm/bulk/shared_memory/shared_ring.hpp"
#include "comm/bulk/shared_memory/shared_segment.hpp"
#include "comm/host.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace detail {
namespace {

/// Counts take memory of the square of the ranks.
constexpr int kMostRanks = 256;

/// A broadcast or an exchange that is on its way.
struct SharedOperation {
  Exchange buffers;  ///< of a broadcast, one of the two
  std::string what;
  size_t open = 0;  ///< streams that have not ended
};

/// What goes through a ring next, for an operation.
struct Stretch {
  std::shared_ptr<SharedOperation> operation;
  std::byte* data;
  size_t bytes;
};

/// A ring, and what this rank has yet to move through it.
struct Stream {
  SharedRing ring;
  std::deque<Stretch> waiting;
};

class SharedMemoryPlane : public ControlledPlane {
 public:
  SharedMemoryPlane(const std::shared_ptr<ControlPlane>& control,
                    std::vector<SharedSegment> segments, std::vector<PeerProcess> processes)
      : ControlledPlane(control, kSharedMemory + (" over " + control->backend()), at::kCPU,
                        kSharedMemory),
        rank_(static_cast<size_t>(control->rank())),
        segments_(std::move(segments)),
        processes_(std::move(processes)) {
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
  void make_streams();
  SharedRing ring(size_t from, size_t to, std::vector<size_t> readers);
  static void add(Stream& stream, const std::shared_ptr<SharedOperation>& operation, void* data,
                  int64_t bytes);
  std::unique_ptr<PendingOperation> begin(std::shared_ptr<SharedOperation> operation);
  bool advance();
  bool take_steps(const SharedOperation& operation, Deadline& deadline);
  std::optional<size_t> lost_process() const;

  size_t rank_;
  std::vector<SharedSegment> segments_;  ///< by rank
  std::vector<PeerProcess> processes_;   ///< by rank
  // By rank; in this rank's own place, what it broadcasts.
  std::vector<Stream> sends_;
  std::vector<Stream> receives_;
  std::vector<Stream> broadcasts_;  ///< of other ranks
};

using PendingSharedOperation = PendingOnPlane<SharedMemoryPlane, SharedOperation>;

SharedRing SharedMemoryPlane::ring(size_t from, size_t to, std::vector<size_t> readers) {
  const SegmentLayout layout(control().world_size());
  return {layout.ring(segments_[from].data(), static_cast<int>(from), static_cast<int>(to)),
          std::move(readers)};
}

void SharedMemoryPlane::make_streams() {
  std::vector<size_t> others;
  for (size_t rank = 0; rank < segments_.size(); ++rank) {
    if (rank != rank_) others.push_back(rank);
  }
  for (size_t rank = 0; rank < segments_.size(); ++rank) {
    const bool is_own = rank == rank_;
    sends_.push_back({ring(rank_, rank, is_own ? others : std::vector<size_t>{rank}), {}});
    receives_.push_back({ring(rank, rank_, {}), {}});
    broadcasts_.push_back({ring(rank, rank, {}), {}});
  }
}

void SharedMemoryPlane::add(Stream& stream, const std::shared_ptr<SharedOperation>& operation,
                            void* data, int64_t bytes) {
  if (bytes == 0) return;
  stream.waiting.push_back({operation, static_cast<std::byte*>(data), static_cast<size_t>(bytes)});
  ++operation->open;
}

std::unique_ptr<PendingOperation> SharedMemoryPlane::start_broadcast(const at::Tensor& buffer,
                                                                     int root,
                                                                     const std::string& what) {
  require_healthy();
  require_broadcast(buffer, root, what);
  auto operation = std::make_shared<SharedOperation>();
  operation->what = what;
  const auto from = static_cast<size_t>(root);
  (from == rank_ ? operation->buffers.outgoing : operation->buffers.incoming) = buffer;
  // The data of the root are only read.
  add(from == rank_ ? sends_[rank_] : broadcasts_[from], operation,
      const_cast<void*>(buffer.const_data_ptr()), buffer.numel());
  return begin(std::move(operation));
}

std::unique_ptr<PendingOperation> SharedMemoryPlane::start_exchange(const Exchange& exchange,
                                                                    const std::string& what) {
  require_healthy();
  require_exchange(exchange, what);
  auto operation = std::make_shared<SharedOperation>(SharedOperation{exchange, what});
  const auto add_all = [&](std::vector<Stream>& streams, const at::Tensor& buffer,
                           const std::vector<Parcel>& parcels) {
    auto* data = static_cast<std::byte*>(const_cast<void*>(buffer.const_data_ptr()));
    for (const Parcel& parcel : parcels) {
      add(streams[static_cast<size_t>(parcel.rank)], operation, data, parcel.bytes);
      data += parcel.bytes;
    }
  };
  add_all(sends_, exchange.outgoing, exchange.sends);
  add_all(receives_, exchange.incoming, exchange.receives);
  return begin(std::move(operation));
}

std::unique_ptr<PendingOperation> SharedMemoryPlane::begin(
    std::shared_ptr<SharedOperation> operation) {
  advance();
  return std::make_unique<PendingSharedOperation>(*this, std::move(operation));
}

/// One piece of each stream, of whatever operation is its next; false if there was no room and
/// nothing to take.
bool SharedMemoryPlane::advance() {
  bool has_moved = false;
  const auto advance_one = [&](Stream& stream, auto move) {
    if (stream.waiting.empty()) return;
    Stretch& next = stream.waiting.front();
    const size_t moved = move(stream.ring, next.data, next.bytes);
    has_moved = has_moved || moved > 0;
    next.data += moved;
    next.bytes -= moved;
    if (next.bytes > 0) return;
    --next.operation->open;
    stream.waiting.pop_front();
  };
  const auto write = [](SharedRing& ring, const std::byte* from, size_t bytes) {
    return ring.write(from, bytes);
  };
  const auto read = [this](SharedRing& ring, std::byte* to, size_t bytes) {
    return ring.read(rank_, to, bytes);
  };
  for (Stream& stream : sends_) advance_one(stream, write);
  for (Stream& stream : receives_) advance_one(stream, read);
  for (Stream& stream : broadcasts_) advance_one(stream, read);
  return has_moved;
}

/// A process that has ended while something of this rank's waits for it.
std::optional<size_t> SharedMemoryPlane::lost_process() const {
  const bool broadcasts = !sends_[rank_].waiting.empty();
  for (size_t rank = 0; rank < processes_.size(); ++rank) {
    const bool is_awaited = broadcasts || !sends_[rank].waiting.empty() ||
                            !receives_[rank].waiting.empty() || !broadcasts_[rank].waiting.empty();
    if (is_awaited && processes_[rank].has_ended()) return rank;
  }
  return std::nullopt;
}

/// As many as there are to take; true once the operation has ended.
bool SharedMemoryPlane::take_steps(const SharedOperation& operation, Deadline& deadline) {
  bool has_moved = false;
  while (operation.open > 0) {
    if (!advance()) break;
    has_moved = true;
  }
  if (has_moved) deadline.renew(control().timeout());
  return operation.open == 0;
}

void SharedMemoryPlane::finish(const std::shared_ptr<SharedOperation>& operation) {
  require_healthy();
  Deadline deadline(control().timeout());
  Periodic look_at_processes;
  std::optional<size_t> lost;
  uint64_t heard = control().times_heard();
  poll_until(
      [&] {
        if (take_steps(*operation, deadline)) return true;
        // What it had written before its end has been taken by now.
        if (lost) {
          lose(operation->what, "the process of rank " + std::to_string(*lost) + " has ended");
        }
        if (look_at_processes.is_due()) lost = lost_process();
        if (heard != control().times_heard()) deadline.hear_of_work();
        heard = control().times_heard();
        if (deadline.passed()) lose(operation->what, "no progress in time");
        return false;
      },
      operation->what);
}

/// Each rank's segment, or nullopt where one cannot be had.
struct Shared {
  std::vector<SharedSegment> segments;
  std::vector<PeerProcess> processes;
};

std::optional<SharedSegment> try_to_make(size_t bytes) {
  try {
    return SharedSegment::make(bytes);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::optional<Shared> try_to_open(const std::vector<std::optional<SegmentAddress>>& addresses,
                                  size_t bytes) {
  Shared shared;
  try {
    for (const auto& address : addresses) {
      if (!address) return std::nullopt;
      shared.segments.push_back(SharedSegment::open(*address, bytes));
      shared.processes.emplace_back(address->process);
    }
  } catch (const std::exception&) {
    return std::nullopt;
  }
  return shared;
}

std::vector<std::optional<SegmentAddress>> gather_addresses(
    ControlPlane& control, const std::optional<SharedSegment>& own) {
  std::optional<SegmentAddress> address;
  if (own) address = own->address();
  std::vector<std::optional<SegmentAddress>> addresses;
  for (const std::string& message : control.all_gather(to_wire(address), kSharedMemory)) {
    addresses.push_back(
        std::get<0>(from_wire<std::optional<SegmentAddress>>(message, kSharedMemory)));
  }
  return addresses;
}

/// Collective; null on every rank if memory cannot be shared.
std::shared_ptr<BulkPlane> share_memory(const std::shared_ptr<ControlPlane>& control) {
  if (control->world_size() == 1 || control->world_size() > kMostRanks) return nullptr;
  const Comparison hosts = control->compare(host_id(), "hosts");
  if (!hosts.is_same() || hosts.of_rank_0.empty()) return nullptr;
  const size_t bytes = SegmentLayout(control->world_size()).bytes();
  const auto own = try_to_make(bytes);
  auto shared = try_to_open(gather_addresses(*control, own), bytes);
  // Nobody's is closed before all have opened it.
  const Comparison ready = control->compare(shared ? "shared" : "", kSharedMemory);
  if (!ready.is_same() || ready.of_rank_0.empty()) return nullptr;
  return std::make_shared<SharedMemoryPlane>(control, std::move(shared->segments),
                                             std::move(shared->processes));
}

}  // namespace
}  // namespace detail

std::unique_ptr<Communicator> share_host_memory(std::unique_ptr<Communicator> communicator) {
  if (detail::shares_memory(communicator->host_plane()->backend())) return communicator;
  auto shared = detail::share_memory(communicator->control_plane());
  if (!shared) return communicator;
  return std::make_unique<Communicator>(communicator->control_plane(), std::move(shared),
                                        communicator->gpu_plane());
}

}  // namespace fakescore
