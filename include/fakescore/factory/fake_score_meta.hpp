#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/core/digest.hpp"
#include "fakescore/core/meta_init.hpp"
#include "fakescore/core/teacher_source.hpp"
#include "fakescore/export.hpp"
#include "fakescore/factory/fake_score.hpp"
#include "fakescore/sync/sync_module_states.hpp"

namespace fakescore {

/// Who reads the teacher's bytes.
enum class TeacherRead : int {
  /// Every rank, if the fake score is on CPUs, all ranks are on one host, and all of them see the
  /// same files: one page cache then serves all. Otherwise the root.
  kAuto = 0,
  kRoot = 1,  ///< The root reads and broadcasts; no other rank opens the teacher.
  /// Every rank reads for itself, on any number of hosts; an error if one cannot. CPUs only.
  kEveryRank = 2,
};

/// A dtype for the floating-point parameters and buffers whose names match a pattern.
struct DtypeRule {
  std::string pattern;  ///< ECMAScript regular expression, searched for: "norm", "^blocks\\.0\\."
  at::ScalarType dtype;
};

/// Must be the same on every rank, except `progress`.
struct MetaOptions {
  /// Casts every floating-point parameter and buffer; nullopt keeps what `build` makes.
  std::optional<at::ScalarType> dtype;
  /// Exceptions from `dtype`; a tensor gets the dtype of the first rule that matches its name.
  /// ConfigError if tensors that share storage would get different dtypes, or if a rule matches no
  /// floating-point tensor.
  std::vector<DtypeRule> dtype_rules;
  /// The rank that opens the teacher, and plans for all.
  int root = 0;
  /// Two ranks see the same files if sizes, modification times and header digests are equal,
  /// whatever the paths.
  TeacherRead read = TeacherRead::kAuto;
  /// The fake score's device: the CPU, or this rank's GPU with its index, which may differ between
  /// ranks. nullopt: the communicator's device. On a GPU the bytes go over NCCL if the communicator
  /// has it, else through host memory.
  std::optional<at::Device> device;
  /// Bytes of one broadcast; several are in flight. nullopt: kDefaultBucketBytes for host memory,
  /// kDefaultDeviceBucketBytes for a GPU's.
  std::optional<size_t> bucket_bytes;
  /// Most bytes of pinned host memory that a reading rank uses to fill its GPU; other ranks use
  /// none.
  size_t pinned_bytes = kDefaultPinnedBytes;
  /// Deadline of every wait for another rank, more than 0; nullopt keeps the communicator's.
  std::optional<std::chrono::milliseconds> timeout;
  /// Missing parameters or persistent buffers and unexpected keys are errors. If false they are
  /// reported, and missing tensors get the values of the module's own initialisation.
  bool strict = true;
  /// Compare a digest of every tensor across ranks at the end.
  bool verify = false;
  /// Seeds of replayed initialisation; only the root's matter.
  MetaInitOptions init;
  ProgressCallback progress;
};

struct CastKey {
  std::string name;
  at::ScalarType from;  ///< the teacher's
  at::ScalarType to;    ///< the module's
};

struct PhaseReport {
  std::string name;
  double seconds = 0;  ///< of the slowest rank
  uint64_t bytes = 0;  ///< broadcast by the root, or read by each rank for itself
};

/// The same on every rank.
struct MetaReport {
  bool deep_copy = false;  ///< the single-process fallback was used; the rest is then empty
  int world_size = 1;
  std::string backend;
  TeacherRead read = TeacherRead::kRoot;  ///< kRoot or kEveryRank
  std::string read_reason;                ///< why not every rank reads; may be empty
  TeacherChoice choice;                   ///< of the teacher's files, as the root sees them
  std::vector<std::string> missing;       ///< of the module, not in the teacher
  std::vector<std::string> unexpected;    ///< of the teacher, not in the module
  std::vector<std::string> replayed;      ///< computed from the record of `build`
  std::vector<CastKey> cast;
  std::vector<PhaseReport> phases;
  uint64_t bytes = 0;                     ///< of all phases
  double seconds = 0;                     ///< of the slowest rank
  std::vector<uint64_t> peak_host_bytes;  ///< peak resident set of the process, by rank
  /// Peak of LibTorch's allocator on the rank's GPU since the process began, by rank; empty for
  /// fake scores on the CPU.
  std::vector<uint64_t> peak_device_bytes;
  std::optional<Digest> digest;  ///< if `verify` was set
};

struct MetaResult {
  std::shared_ptr<torch::nn::Module> module;
  MetaReport report;
};

/// Builds the teacher's fake score on every rank of a job.
///
/// Every rank calls `build` under a MetaInitGuard, so that nothing is allocated. The ranks compare
/// the structures and allocate storage. Then the root reads the teacher and broadcasts it, or every
/// rank reads it (options.read). Tensors that the teacher does not hold (missing keys,
/// non-persistent buffers, plain tensor members) are replayed on the root from the record of
/// `build` and broadcast too. The result is on `options.device`, in training mode, and every
/// floating-point or complex parameter requires gradients. All ranks hold the same bits. A tensor
/// travels in the narrower of the teacher's dtype and the module's.
///
/// Memory: a rank holds the model and a few buckets. A reading rank also maps the teacher's files,
/// and pins options.pinned_bytes if the result is on a GPU.
///
/// GPU: work begins after the work already on the calling thread's current stream, runs on streams
/// of its own, and has ended when the call returns: the result may be used on any stream. The tape
/// is replayed on the CPU.
///
/// Collective. On failure every rank throws the same error within the timeout. After BuildError,
/// MismatchError, TeacherError, MemoryError and ConfigError the communicator still works, and the
/// call can be made again. After CommError (a lost peer) the communicator is broken.
FAKESCORE_API MetaResult create_fake_score_meta(const ModuleBuilder& build,
                                                const TeacherSource& teacher,
                                                Communicator& communicator,
                                                const MetaOptions& options = {});

/// From a live module, without a builder. In a job of one process this is create_fake_score's deep
/// copy; in a larger job it throws ConfigError on every rank, saying what to pass.
FAKESCORE_API MetaResult create_fake_score_meta(const std::shared_ptr<torch::nn::Module>& teacher,
                                                Communicator& communicator,
                                                const MetaOptions& options = {});

/// Collective. The root opens the teacher and tells every rank its names, shapes and dtypes.
FAKESCORE_API std::vector<TeacherTensor> broadcast_teacher_tensors(const TeacherSource& teacher,
                                                                   Communicator& communicator,
                                                                   int root = 0);

}  // namespace fakescore
