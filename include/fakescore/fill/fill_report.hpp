#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/fill/fill_options.hpp"
#include "fakescore/teacher/teacher.hpp"
#include "fakescore/tensor/digest.hpp"

namespace fakescore {

struct CastKey {
  std::string name;
  at::ScalarType from;  ///< the teacher's
  at::ScalarType to;    ///< the filled tensor's
};

/// How the names of a teacher and of the tensors to fill fit together.
struct KeyReport {
  std::vector<std::string> missing;     ///< to be filled, not in the teacher
  std::vector<std::string> unexpected;  ///< of the teacher, not to be filled
  /// Of the teacher, not to be filled, and no weights: `_extra_state`, as TransformerEngine has it.
  std::vector<std::string> skipped;
  std::vector<std::string> replayed;  ///< not the teacher's values: those of their initialisation
  std::vector<CastKey> cast;
  TeacherChoice choice;  ///< of the teacher's files, as the root sees them
};

struct PhaseReport {
  std::string name;
  double seconds = 0;  ///< of the slowest rank
  uint64_t bytes = 0;  ///< sent by one rank or several, each byte once, or read by each for itself
};

/// The same on every rank.
struct FillReport : KeyReport {
  int world_size = 1;
  std::string backend;
  TeacherRead read = TeacherRead::kRoot;  ///< kRoot, kEveryRank or kInTurns
  std::string read_reason;                ///< why not every rank reads; may be empty
  std::vector<PhaseReport> phases;
  uint64_t bytes = 0;  ///< of all phases
  double seconds = 0;  ///< of the slowest rank
  /// Of the teacher's tensors, as they travel or lie in its files, what each rank has read, by
  /// rank.
  std::vector<uint64_t> read_bytes;
  /// What each rank has sent to others and received, by rank: what it sends to several counts as
  /// often. Of exchanges these are the bytes that were asked for; of a backend's broadcasts, those
  /// of the way that it is known to take (docs/scale.md). Over a store exchanges are counted as
  /// from rank to rank, though all go by way of its server.
  std::vector<uint64_t> sent_bytes;
  std::vector<uint64_t> received_bytes;
  std::vector<int> hosts;  ///< by rank: its host, numbered in the order of their first ranks
  std::vector<uint64_t> link_sent_bytes;      ///< by host, of that: to other hosts
  std::vector<uint64_t> link_received_bytes;  ///< by host: from other hosts
  std::vector<uint64_t> peak_host_bytes;      ///< peak resident set of the process, by rank
  /// Peak of LibTorch's allocator on the rank's GPU since the process began, by rank; empty for
  /// tensors on the CPU.
  std::vector<uint64_t> peak_device_bytes;
  /// Of every tensor, if `verify` was set; with shards, of their parts as these ranks cut them.
  std::optional<Digest> digest;
};

}  // namespace fakescore
