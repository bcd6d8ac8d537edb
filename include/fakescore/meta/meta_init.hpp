#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/tensor/digest.hpp"

namespace fakescore {

namespace detail {
class Recorder;
}

/// How random initialisation is replayed.
enum class RandomMode {
  kPerOp,       ///< each random op has its own seed, so that any tensor replays alone
  kSequential,  ///< the values of an eager build under the same seed; a replay costs every draw
                ///< before
};

struct MetaInitOptions {
  RandomMode random = RandomMode::kPerOp;
  /// Base of the seeds of kPerOp; the default generator's current seed if not set.
  std::optional<uint64_t> seed;
  /// Whether factories that name a device, of whatever kind, are recorded as those that name none.
  /// For Python, whose bindings always name one.
  bool records_named_devices = false;
};

/// What recorded operations did with a tensor.
enum class TensorUse : int { kNone = 0, kRead = 1, kWritten = 2 };

/// The record of the operations that a builder ran under a MetaInitGuard: enough to compute any
/// tensor that it made, later and alone. Not thread-safe. Holds meta tensors and small constants
/// only.
class FAKESCORE_API InitTape {
 public:
  ~InitTape();
  InitTape(const InitTape&) = delete;
  InitTape& operator=(const InitTape&) = delete;

  /// The values, on the CPU, of tensors made under the guard. They are bit-equal to those of eager
  /// construction under the same seeding, with the same dtype, sizes and strides. Tensors that
  /// share storage share it in the result too, over several calls. A tensor that is not meta is
  /// returned unchanged. Throws BuildError naming the op if a constant that it used has changed
  /// since, or if a tensor is not on this tape. The default generator's state and the default dtype
  /// are restored.
  std::vector<at::Tensor> replay(const std::vector<at::Tensor>& targets);

  /// Tensors made under the guard that are still alive somewhere and still meta, in the order made:
  /// a module's registered tensors and plain members that no module registered. Views included.
  std::vector<at::Tensor> live_tensors() const;

  /// Whether this is a meta tensor on this tape.
  bool knows(const at::Tensor& tensor) const;

  /// What the operations after the first `since` did with each tensor, or with others in its
  /// storage.
  std::vector<TensorUse> uses_since(const std::vector<at::Tensor>& tensors, size_t since) const;

  /// From operation `since` on the tape does not know this tensor's value: weights that are read
  /// later decide it. A replay that would compute with it throws BuildError, with `name`.
  void mark_unknown(const std::string& name, const at::Tensor& tensor, size_t since);

  /// Of all that was recorded but the random state: operations, arguments, constants, what is
  /// marked unknown.
  Digest fingerprint() const;

  /// What the random operations draw from. A tape of the same fingerprint that is given it replays
  /// the same values, whatever was seeded when it was recorded. Throws MismatchError for the state
  /// of a tape with other draws.
  std::string random_state() const;
  void set_random_state(const std::string& state);

  /// Number of recorded operations.
  size_t size() const noexcept;

  struct Impl;

 private:
  friend class MetaInitGuard;
  friend class detail::Recorder;
  explicit InitTape(const MetaInitOptions& options);
  std::unique_ptr<Impl> impl_;
};

/// While it exists, tensors made by this thread are meta tensors: they have sizes, strides and a
/// dtype but no storage, and what would have been written is recorded on `tape()`.
/// Guards nest (each has its own tape), unwind with exceptions, and affect their own thread only.
///
/// C++ factories that name an explicit CPU device stay real (torch::tensor(vector) needs it),
/// unless MetaInitOptions::records_named_devices is set. The meta device, as in the options() of a
/// tensor made here, means a tensor on the tape. Ops that read values (item(), equal()) immediately
/// replay what they need. Throws BuildError naming the op for what cannot work: an op on a meta
/// tensor made elsewhere, an op whose result's shape cannot be known, autocast, an op on another
/// thread that inherited the guard. Limits: docs/design.md, "Meta construction".
class FAKESCORE_API MetaInitGuard {
 public:
  explicit MetaInitGuard(const MetaInitOptions& options = {});
  ~MetaInitGuard();
  MetaInitGuard(const MetaInitGuard&) = delete;
  MetaInitGuard& operator=(const MetaInitGuard&) = delete;

  std::shared_ptr<InitTape> tape() const noexcept { return tape_; }

  /// Whether LibTorch has what a guard needs; else making one throws ConfigError.
  static bool is_supported() noexcept;

  struct State;

 private:
  std::shared_ptr<InitTape> tape_;
  std::unique_ptr<State> state_;
};

/// While it exists, the guards of this thread record nothing: operations run as they are called.
class FAKESCORE_API MetaInitPause {
 public:
  MetaInitPause();
  ~MetaInitPause();
  MetaInitPause(const MetaInitPause&) = delete;
  MetaInitPause& operator=(const MetaInitPause&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Puts `real` (same sizes and dtype) into the tensor object behind `meta`: every handle to it,
/// module members and dictionaries included, then sees the real tensor. requires_grad and leaf
/// status stay. Throws BuildError if sizes or dtypes differ.
FAKESCORE_API void materialize_into(const at::Tensor& meta, const at::Tensor& real);

}  // namespace fakescore
