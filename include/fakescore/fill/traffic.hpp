#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/fill/fill_options.hpp"

namespace fakescore {

/// One storage of a module, as what is read and sent counts it.
struct PlannedTensor {
  uint64_t bytes = 0;  ///< on the wire, of all of it
  /// Of a parameter: its first dimension, along which FSDP2 cuts it. 0 for what every rank has
  /// whole.
  int64_t rows = 0;
  bool replayed = false;  ///< computed, and not read
  /// Neither cast on arrival nor with gaps: a rank that has it can pass it on.
  bool passes_on = true;
};

/// The ranks of a job: each host has as many, one host's follow each other.
struct JobShape {
  int hosts = 1;
  int ranks_per_host = 1;
  /// Ranks that share one copy of the module, as FSDP2 has them: each holds a part of every
  /// parameter. Other ranks hold replicas of the parts. 1: every rank holds whole tensors.
  int ranks_per_copy = 1;

  int world_size() const noexcept { return hosts * ranks_per_host; }
};

/// What decides who reads, and who passes bytes on to whom.
struct TrafficOptions {
  TeacherRead read = TeacherRead::kAuto;
  bool all_see_files = true;  ///< every rank sees the root's
  bool on_gpu = false;
  /// Whose broadcasts carry the bytes, as Communicator::backend begins: "mpi", "nccl", "store",
  /// "local", or "process group" for a job's own, which is Gloo's on CPUs of several hosts,
  /// memory that ranks share on CPUs of one, and NCCL's on GPUs.
  std::string backend = "mpi";
  int root = 0;
};

struct RankTraffic {
  uint64_t filled = 0;  ///< what it holds in the end
  uint64_t read = 0;    ///< as FillReport::read_bytes counts
  uint64_t sent = 0;    ///< to other ranks, once for each that it sends to
  uint64_t received = 0;
  uint64_t from_other_hosts = 0;  ///< of what it received
  friend bool operator==(const RankTraffic&, const RankTraffic&) = default;
};

struct HostTraffic {
  uint64_t read = 0;       ///< by its ranks
  uint64_t from_disk = 0;  ///< of that, each byte once: where its page cache had none of the files
  uint64_t sent = 0;       ///< to other hosts
  uint64_t received = 0;   ///< from other hosts
  friend bool operator==(const HostTraffic&, const HostTraffic&) = default;
};

/// Which bytes of a fill go where.
struct Traffic {
  TeacherRead read = TeacherRead::kRoot;  ///< kRoot, kEveryRank or kInTurns
  std::string reason;                     ///< why
  std::vector<RankTraffic> ranks;
  std::vector<HostTraffic> hosts;
  /// How often a byte of a broadcast is passed on until its last rank has it, and whether that is
  /// from rank to rank in small pieces.
  int longest_way = 0;
  bool in_chains = false;
  /// How often one is by exchanges, in rounds of these: of whole tensors host by host, and of a
  /// part from a replica to the next.
  int whole_hops = 0;
  int part_hops = 0;
  /// Where ranks send in turn, one after the other: what the busiest link of each turn carries, of
  /// all turns.
  uint64_t sent_in_turn = 0;
  uint64_t whole_bytes = 0;  ///< of all tensors, each once
};

/// Neighbouring ranks or hosts that read and send the same.
template <typename Entry>
struct Alike {
  size_t first = 0;
  size_t last = 0;
  Entry traffic;  ///< of each of them
};

template <typename Entry>
std::vector<Alike<Entry>> group_alike(const std::vector<Entry>& all) {
  std::vector<Alike<Entry>> groups;
  for (size_t i = 0; i < all.size(); ++i) {
    if (groups.empty() || !(groups.back().traffic == all[i])) groups.push_back({i, i, all[i]});
    groups.back().last = i;
  }
  return groups;
}

/// The traffic of a fill of `tensors`, which are in the order of the fill's plan. Pure. Throws
/// ConfigError where the shape is none, or where ranks are to read that do not see the files.
FAKESCORE_API Traffic plan_traffic(const std::vector<PlannedTensor>& tensors, const JobShape& shape,
                                   const TrafficOptions& options);

}  // namespace fakescore
