#include "nccl/collectives.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "nccl/reduction.hpp"
#include "runtime/device.hpp"

namespace fakescore::emulation {
namespace {

/// The data moves in rounds: every rank that has something puts a chunk into its slot, all meet,
/// and read each other's. Slots alternate, so that a rank may fill the next while others still
/// read.
class Collective {
 public:
  Collective(Communicator& communicator, const NcclOperation& operation)
      : communicator_(communicator),
        operation_(operation),
        input_(static_cast<const char*>(host_address(operation.input))),
        output_(static_cast<char*>(host_address(operation.output))),
        bytes_(operation.bytes()) {}

  bool run();

 private:
  using Read = std::function<void(uint64_t offset, size_t bytes)>;

  bool exchange(const char* input, const Read& read);
  bool meet(const char* chunk, size_t bytes);
  bool agree();
  std::optional<std::string> deadlock() const;
  bool spread(int root, const char* input, char* output);
  bool reduce(const char* input, char* output);

  const char* slot(int rank) const { return shared().slots[communicator_.rounds % 2][rank]; }
  Shared& shared() const { return *communicator_.segment().operator->(); }

  Communicator& communicator_;
  const NcclOperation& operation_;
  const char* input_;
  char* output_;
  uint64_t bytes_;  ///< of `count` elements
};

bool Collective::run() {
  const int rank = communicator_.rank();
  const bool is_root = operation_.peer == rank;
  switch (operation_.kind) {
    case NcclKind::kBroadcast:
      return spread(operation_.peer, input_, output_);
    case NcclKind::kAllReduce:
      return reduce(input_, output_);
    case NcclKind::kReduce:
      return reduce(input_, is_root ? output_ : nullptr);
    case NcclKind::kAllGather:
      for (int from = 0; from < communicator_.size(); ++from) {
        if (!spread(from, input_, output_ + static_cast<uint64_t>(from) * bytes_)) return false;
      }
      return true;
    case NcclKind::kReduceScatter:
      for (int to = 0; to < communicator_.size(); ++to) {
        const char* const part = input_ + static_cast<uint64_t>(to) * bytes_;
        if (!reduce(part, to == rank ? output_ : nullptr)) return false;
      }
      return true;
    case NcclKind::kSend:
    case NcclKind::kRecv:
      break;
  }
  return true;
}

bool Collective::spread(int root, const char* input, char* output) {
  return exchange(
      root == communicator_.rank() ? input : nullptr,
      [&](uint64_t offset, size_t bytes) { std::memcpy(output + offset, slot(root), bytes); });
}

bool Collective::reduce(const char* input, char* output) {
  std::vector<const char*> slots(static_cast<size_t>(communicator_.size()));
  return exchange(input, [&](uint64_t offset, size_t bytes) {
    if (output == nullptr) return;
    for (int rank = 0; rank < communicator_.size(); ++rank) {
      slots[static_cast<size_t>(rank)] = slot(rank);
    }
    reduce_elements(slots, output + offset, bytes / size_of(operation_.type), operation_.type,
                    operation_.reduction);
  });
}

/// At least one round, so that ranks with nothing to move are compared as well.
bool Collective::exchange(const char* input, const Read& read) {
  uint64_t offset = 0;
  do {
    const auto bytes = static_cast<size_t>(std::min<uint64_t>(kChunkBytes, bytes_ - offset));
    if (!meet(input == nullptr ? nullptr : input + offset, bytes)) return false;
    if (bytes > 0) read(offset, bytes);
    offset += bytes;
  } while (offset < bytes_);
  return true;
}

bool Collective::meet(const char* chunk, size_t bytes) {
  RankRecord& record = shared().ranks[communicator_.rank()];
  const uint64_t round = ++communicator_.rounds;
  record.signatures[round % 2] = operation_.signature();
  if (chunk != nullptr) {
    std::memcpy(shared().slots[round % 2][communicator_.rank()], chunk, bytes);
  }
  record.rounds = round;
  const auto all_are_here = [&] {
    const RankRecord* const ranks = shared().ranks;
    return std::all_of(ranks, ranks + communicator_.size(),
                       [&](const RankRecord& other) { return other.rounds >= round; });
  };
  return communicator_.wait_until(all_are_here, [this] { return deadlock(); }) && agree();
}

/// All ranks see the same signatures, so all of them come to the same verdict.
bool Collective::agree() {
  const size_t parity = communicator_.rounds % 2;
  const Signature mine = operation_.signature();
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    const Signature theirs = shared().ranks[rank].signatures[parity];
    if (theirs == mine) continue;
    return communicator_.fail_all_and_hang("this rank called " + describe(mine) + ", rank " +
                                           std::to_string(rank) + " called " + describe(theirs));
  }
  return true;
}

/// A peer that has not come and waits for a message to or from this rank never will.
std::optional<std::string> Collective::deadlock() const {
  const int me = communicator_.rank();
  for (int peer = 0; peer < communicator_.size(); ++peer) {
    const RankRecord& record = shared().ranks[peer];
    if (peer == me || record.rounds >= communicator_.rounds) continue;
    const Channel& to_peer = shared().channels[me][peer];
    const Channel& from_peer = shared().channels[peer][me];
    const uint32_t waits_for = record.waits_for;
    const bool receives = (waits_for >> me & 1) != 0 && to_peer.sent == to_peer.taken;
    const bool sends = (waits_for >> (kMaxRanks + me) & 1) != 0 && from_peer.sent > from_peer.taken;
    if (!receives && !sends) continue;
    return "this rank called " + describe(operation_.signature()) + ", rank " +
           std::to_string(peer) + " called " + (receives ? "ncclRecv from" : "ncclSend to") +
           " this rank";
  }
  return std::nullopt;
}

}  // namespace

bool run_collective(Communicator& communicator, const NcclOperation& operation) {
  return Collective(communicator, operation).run();
}

}  // namespace fakescore::emulation
