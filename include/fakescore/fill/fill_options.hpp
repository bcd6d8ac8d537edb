#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <cstddef>
#include <optional>

#include "fakescore/export.hpp"
#include "fakescore/transfer/buffer_sizes.hpp"
#include "fakescore/transfer/progress.hpp"

namespace fakescore {

/// Who reads the teacher's bytes.
enum class TeacherRead : int {
  /// The root, if some rank does not see the root's files. Otherwise kEveryRank for shards, and for
  /// tensors on CPUs of one host: one page cache then serves all; and kInTurns for tensors on GPUs
  /// or on several hosts.
  kAuto = 0,
  kRoot = 1,  ///< The root reads and sends; no other rank opens the teacher.
  /// Every rank reads what it holds, on any number of hosts; an error if one cannot.
  kEveryRank = 2,
  /// The ranks share the reading, and send in turn: each byte is read once, and every rank's
  /// way to its files and to its GPU is used. Of shards each reads its own, and ranks that keep the
  /// same one a share of it each. An error if one cannot.
  kInTurns = 3,
};

/// "auto", "root", "all" or "turns": as programs call it.
FAKESCORE_API const char* to_string(TeacherRead read);

/// Must be the same on every rank, except `progress`.
struct FillOptions {
  /// The rank that opens the teacher, and plans for all.
  int root = 0;
  /// Two ranks see the same files if sizes, modification times and header digests are equal,
  /// whatever the paths.
  TeacherRead read = TeacherRead::kAuto;
  /// The filled tensors' device: the CPU, or this rank's GPU with its index, which may differ
  /// between ranks. nullopt: the communicator's device. On a GPU the bytes go over NCCL if the
  /// communicator has it, else through host memory.
  std::optional<c10::Device> device;
  /// Bytes of one broadcast; several are in flight. nullopt: kDefaultBucketBytes for host memory,
  /// kDefaultDeviceBucketBytes for a GPU's. Shards, and what is passed on host by host, travel in
  /// host memory in exchanges of 8 times as much, most of which is for one rank.
  std::optional<size_t> bucket_bytes;
  /// Most bytes of pinned host memory that a reading rank uses to fill its GPU; other ranks use
  /// none.
  size_t pinned_bytes = kDefaultPinnedBytes;
  /// Deadline of every wait for another rank, more than 0; nullopt keeps the communicator's.
  std::optional<std::chrono::milliseconds> timeout;
  /// Missing parameters or persistent buffers and unexpected keys are errors. If false they are
  /// reported, and missing tensors get the values of their own initialisation.
  bool strict = true;
  /// Compare a digest of every tensor across ranks at the end.
  bool verify = false;
  ProgressCallback progress;
};

}  // namespace fakescore
