#include "nccl/messages.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "runtime/device.hpp"

namespace fakescore::emulation {
namespace {

struct Transfer {
  const NcclOperation* operation;
  char* bytes;
  uint64_t total;
  uint64_t moved = 0;
  bool has_begun = false;
  bool is_done = false;

  bool sends() const { return operation->kind == NcclKind::kSend; }
  int peer() const { return operation->peer; }
  bool is_last_chunk() const { return total - moved <= kChunkBytes; }
  size_t chunk() const {
    return static_cast<size_t>(std::min<uint64_t>(kChunkBytes, total - moved));
  }
};

uint32_t wait_bit(bool sends, int peer) { return uint32_t{1} << (sends ? kMaxRanks + peer : peer); }

/// The messages of one group. Those between two ranks go one after the other.
class Exchange {
 public:
  Exchange(Communicator& communicator, const std::vector<NcclOperation>& operations)
      : communicator_(communicator), rank_(communicator.rank()) {
    for (const NcclOperation& operation : operations) {
      if (!operation.is_message()) continue;
      const void* const buffer =
          operation.kind == NcclKind::kSend ? operation.input : operation.output;
      transfers_.push_back(
          {&operation, static_cast<char*>(host_address(buffer)), operation.bytes()});
    }
  }

  bool run() {
    if (transfers_.empty()) return true;
    uint32_t waits_for = 0;
    for (const Transfer& transfer : transfers_) {
      waits_for |= wait_bit(transfer.sends(), transfer.peer());
    }
    record().waits_for = waits_for;
    const bool is_done =
        communicator_.wait_until([this] { return advance(); }, [this] { return deadlock(); });
    return is_done && (mismatch_.empty() || communicator_.fail_all_and_hang(mismatch_));
  }

 private:
  bool advance();
  void move_chunk(Transfer& transfer);
  void send_chunk(Transfer& transfer, Channel& channel);
  void receive_chunk(Transfer& transfer, Channel& channel);
  void finish(Transfer& transfer);
  bool is_next(const Transfer& transfer) const;
  bool is_pending(bool sends, int peer) const;
  bool is_taken(const Transfer& transfer) const;
  std::optional<std::string> deadlock() const;

  RankRecord& record() const { return communicator_.segment()->ranks[rank_]; }
  Channel& channel(int from, int to) const { return communicator_.segment()->channels[from][to]; }

  Communicator& communicator_;
  const int rank_;
  std::vector<Transfer> transfers_;
  std::string mismatch_;
};

/// Moves what can be moved now. True once there is nothing left, or nothing can go on.
bool Exchange::advance() {
  bool is_done = true;
  for (Transfer& transfer : transfers_) {
    if (!transfer.is_done && is_next(transfer)) move_chunk(transfer);
    is_done = is_done && transfer.is_done;
  }
  return is_done || !mismatch_.empty();
}

bool Exchange::is_next(const Transfer& transfer) const {
  for (const Transfer& earlier : transfers_) {
    if (&earlier == &transfer) return true;
    if (!earlier.is_done && earlier.sends() == transfer.sends() &&
        earlier.peer() == transfer.peer()) {
      return false;
    }
  }
  return true;
}

void Exchange::move_chunk(Transfer& transfer) {
  if (transfer.sends()) {
    send_chunk(transfer, channel(rank_, transfer.peer()));
  } else {
    receive_chunk(transfer, channel(transfer.peer(), rank_));
  }
}

void Exchange::send_chunk(Transfer& transfer, Channel& channel) {
  if (channel.sent != channel.taken) return;
  if (transfer.has_begun && transfer.moved == transfer.total) return finish(transfer);
  if (!transfer.has_begun) {
    channel.message_count = transfer.operation->count;
    channel.message_type = transfer.operation->type;
    transfer.has_begun = true;
  }
  const size_t bytes = transfer.chunk();
  std::memcpy(channel.data, transfer.bytes + transfer.moved, bytes);
  transfer.moved += bytes;
  channel.sent += 1;
}

void Exchange::receive_chunk(Transfer& transfer, Channel& channel) {
  if (channel.sent == channel.taken) return;
  const NcclOperation& operation = *transfer.operation;
  if (!transfer.has_begun && (channel.message_count != operation.count ||
                              channel.message_type != static_cast<int32_t>(operation.type))) {
    mismatch_ = "this rank called ncclRecv of " +
                describe_elements(operation.count, operation.type) + " from rank " +
                std::to_string(transfer.peer()) + ", which called ncclSend of " +
                describe_elements(channel.message_count, channel.message_type);
    return;
  }
  transfer.has_begun = true;
  const size_t bytes = transfer.chunk();
  std::memcpy(transfer.bytes + transfer.moved, channel.data, bytes);
  const bool was_last = transfer.is_last_chunk();
  transfer.moved += bytes;
  // Before the sender hears of it: once it goes on, it must not see this rank as still waiting.
  if (was_last) finish(transfer);
  channel.taken += 1;
}

void Exchange::finish(Transfer& transfer) {
  transfer.is_done = true;
  if (!is_pending(transfer.sends(), transfer.peer())) {
    record().waits_for &= ~wait_bit(transfer.sends(), transfer.peer());
  }
}

bool Exchange::is_pending(bool sends, int peer) const {
  return std::any_of(transfers_.begin(), transfers_.end(), [&](const Transfer& transfer) {
    return !transfer.is_done && transfer.sends() == sends && transfer.peer() == peer;
  });
}

/// Its last chunk has left the channel, which this rank may not have seen yet.
bool Exchange::is_taken(const Transfer& transfer) const {
  if (!transfer.sends() || !transfer.has_begun || transfer.moved < transfer.total) return false;
  const Channel& out = channel(rank_, transfer.peer());
  return out.sent == out.taken;
}

/// Two ranks that both wait for each other, and neither for what the other offers.
std::optional<std::string> Exchange::deadlock() const {
  for (const Transfer& transfer : transfers_) {
    const int peer = transfer.peer();
    if (transfer.is_done || peer == rank_) continue;
    const RankRecord& theirs = communicator_.segment()->ranks[peer];
    const std::string mine = std::string("this rank called ") + name_of(transfer.operation->kind) +
                             (transfer.sends() ? " to" : " from") + " rank " +
                             std::to_string(peer) + ", which called ";
    // Read first: who has gone on has taken what it takes of these.
    if (theirs.rounds > communicator_.rounds) {
      if (is_taken(transfer)) continue;
      const Signature collective = theirs.signatures[theirs.rounds % 2];
      return mine + describe(collective);
    }
    const uint32_t waits_for = theirs.waits_for;
    const bool they_receive = (waits_for & wait_bit(false, rank_)) != 0;
    const bool they_send = (waits_for & wait_bit(true, rank_)) != 0;
    const bool i_send = is_pending(true, peer);
    const bool i_receive = is_pending(false, peer);
    if ((i_send && they_receive) || (i_receive && they_send)) continue;
    const Channel& out = channel(rank_, peer);
    const Channel& in = channel(peer, rank_);
    const bool both_receive =
        i_receive && they_receive && in.sent == in.taken && out.sent == out.taken;
    const bool both_send = i_send && they_send && in.sent > in.taken && out.sent > out.taken;
    if (both_receive) return mine + "ncclRecv from this rank";
    if (both_send) return mine + "ncclSend to this rank";
  }
  return std::nullopt;
}

}  // namespace

bool run_messages(Communicator& communicator, const std::vector<NcclOperation>& operations) {
  return Exchange(communicator, operations).run();
}

}  // namespace fakescore::emulation
