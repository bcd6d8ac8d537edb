#pragma once

#include <nccl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace fakescore::emulation {

inline constexpr int kMaxRanks = 16;
inline constexpr size_t kChunkBytes = 256 << 10;

/// What the ranks of a communicator must agree on for one collective.
struct Signature {
  int32_t kind = 0;
  int32_t type = 0;
  int32_t reduction = 0;
  int32_t root = 0;
  uint64_t count = 0;

  bool operator==(const Signature&) const = default;
};

/// How a rank stands to the communicator.
enum class Fate : int32_t { kPresent, kDestroyed, kAborted, kDied };

/// What a rank tells the others. All zero before it joins.
struct RankRecord {
  std::atomic<bool> joined;
  std::atomic<Fate> fate;        ///< as the rank itself says; the dead say nothing
  uint64_t host;                 ///< written before `joined`, as is `device`
  int32_t device;                ///< its number on that host
  std::atomic<uint64_t> rounds;  ///< of collectives that it has entered
  Signature signatures[2];       ///< of the rounds of even and of odd number
  /// Bit r: it has launched something in which rank r takes part.
  std::atomic<uint32_t> launched_with;
  /// Bit r: it waits for a message of rank r. Bit kMaxRanks + r: it waits for rank r to take one.
  std::atomic<uint32_t> waits_for;
};

/// The way from one rank to another: one chunk at a time.
struct Channel {
  std::atomic<uint64_t> sent;   ///< chunks
  std::atomic<uint64_t> taken;  ///< chunks; equal to `sent` where the channel is empty
  uint64_t message_count;       ///< of the message that its first chunk opens
  int32_t message_type;
  char data[kChunkBytes];
};

/// The memory that the ranks of one communicator share. Pages nobody writes to cost nothing.
struct Shared {
  std::atomic<uint64_t> key;
  std::atomic<int32_t> size;  ///< ranks, as the first to join says; 0 before
  std::atomic<int32_t> joined;
  std::atomic<int32_t> fault;  ///< an ncclResult_t that concerns every rank
  RankRecord ranks[kMaxRanks];
  char slots[2][kMaxRanks][kChunkBytes];   ///< of the rounds of even and of odd number
  Channel channels[kMaxRanks][kMaxRanks];  ///< [from][to]
};

/// A process's access to Shared. The memory has no name in the file system: whoever makes the id
/// holds it open, others open it through that process, and nothing is left behind however the
/// processes end. While a rank lives it holds a lock, which the kernel drops when it dies.
class Segment {
 public:
  /// Makes the memory, and the id by which others find it.
  static std::optional<ncclUniqueId> create();

  /// Null where whoever made the id is gone.
  static std::optional<Segment> open(const ncclUniqueId& id);
  /// Nobody will open the memory through this process any more. Nothing where it did not make it.
  static void forget(const ncclUniqueId& id);

  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&&) = delete;
  ~Segment();

  Shared* operator->() const { return shared_; }

  /// False where somebody is that rank already.
  bool claim(int rank);
  /// Lets the others see that this rank takes part no more, and why.
  void leave(Fate fate);
  /// kPresent also where it has not joined yet.
  Fate fate_of(int rank) const;

 private:
  Segment(int file, Shared* shared) : file_(file), shared_(shared) {}

  int file_;
  Shared* shared_;
  int claimed_ = -1;
};

}  // namespace fakescore::emulation
