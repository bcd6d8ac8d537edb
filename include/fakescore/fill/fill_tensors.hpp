#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/export.hpp"
#include "fakescore/fill/fill_options.hpp"
#include "fakescore/fill/fill_report.hpp"
#include "fakescore/meta/meta_init.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore {

/// Where the memory of filled tensors comes from. A shard (NamedTensor::shard) has memory in any
/// case, on FillOptions::device: whoever cuts a tensor pads it as it likes.
enum class StoragePolicy {
  /// The tensors are on the meta device (the memory of others is replaced). Storages are allocated
  /// on FillOptions::device, one for all tensors that share one, and put behind the tensor objects
  /// that are there.
  kAllocate,
  /// The tensors have memory on FillOptions::device, which is written in place, and of which no
  /// bytes belong to two storages. After an error what it holds is undefined.
  kGiven,
};

/// What there is to fill, on one rank.
struct FillTarget {
  /// The same names, shapes, dtypes, strides, offsets into storages and sharing of storages on
  /// every rank, in the same order; of shards the same whole tensors. A shard is row-major, and
  /// shares its storage with other names of itself alone. Which tensors that no module registered
  /// belong to it is the caller's choice: they are replayed, and must be the same on every rank as
  /// well.
  std::vector<NamedTensor> tensors;
  /// With kAllocate, the record of their initialisation, for what the teacher does not hold; a
  /// tensor that neither explains is a BuildError that names all of them. Its guard has ended. Not
  /// used with kGiven: every rank gets the root's own values of such a tensor.
  std::shared_ptr<InitTape> tape;
  /// Where some of `tensors` took the place of those on the tape, as after a cast outside the
  /// guard: for each of `tensors` the one to replay for it, of the same sizes (of a shard, of the
  /// whole tensor's), whose value is then cast; undefined where there is none. Empty: the tensors
  /// themselves, and nothing for shards.
  std::vector<at::Tensor> recorded = {};
  StoragePolicy storage = StoragePolicy::kAllocate;
  /// In words, how they were made: compared between ranks before anything is allocated, for an
  /// error that says more than which tensor differs.
  std::string settings = {};
  /// Called on every rank with `tensors` once they are filled; what it throws, all ranks throw. May
  /// be empty.
  std::function<void(const std::vector<NamedTensor>&)> on_filled = {};
};

/// Makes the target, on every rank; what it throws, all ranks throw.
using TargetBuilder = std::function<FillTarget()>;

/// Fills tensors with a teacher's values on every rank of a job.
///
/// The ranks compare what `build` makes, and allocate storage where that is asked for. Then the
/// root reads the teacher and broadcasts it, or the ranks do so in turn, or every rank reads it
/// (options.read). What the teacher does not hold (missing keys, non-persistent buffers,
/// unregistered tensors) is replayed on the root from the tape and broadcast too. All ranks then
/// hold the same bits. A tensor travels in the narrower of the teacher's dtype and its own.
/// requires_grad stays as it was.
///
/// Shards: each rank reads what it holds, or gets it from the root, or from the ranks that have it
/// of a teacher in shards, and replays whole what the teacher lacks, to cut it; the random state is
/// the root's. Of options.verify, ranks that keep the same part are compared.
///
/// Memory: a rank holds the tensors and a few buckets, and where shards are replayed the largest
/// whole one, or 64 MiB of them. A reading rank also maps the teacher's files, and pins
/// options.pinned_bytes if the tensors are on a GPU.
///
/// GPU: work begins after the work already on the calling thread's current stream, runs on streams
/// of its own, and has ended when the call returns: the result may be used on any stream. The tape
/// is replayed on the CPU.
///
/// Collective. On failure every rank throws the same error within the timeout. After BuildError,
/// MismatchError, TeacherError, MemoryError and ConfigError the communicator still works, and the
/// call can be made again. After CommError (a lost peer) the communicator is broken.
FAKESCORE_API FillReport fill_tensors(const TargetBuilder& build, const TeacherSource& teacher,
                                      Communicator& communicator, const FillOptions& options = {});

/// The same for a target that is made already.
FAKESCORE_API FillReport fill_tensors(const FillTarget& target, const TeacherSource& teacher,
                                      Communicator& communicator, const FillOptions& options = {});

}  // namespace fakescore
