#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/StorageImpl.h>

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fakescore/meta/meta_init.hpp"
#include "meta/seeding.hpp"

namespace fakescore::detail {

using c10::StorageImpl;
using torch::jit::Stack;

/// A real tensor too large to copy, that an op read: it must not have changed at replay.
struct WatchedConstant {
  at::Tensor tensor;
  uint32_t version;
};

struct RandomDraw {
  OpSeed seed;            ///< kPerOp
  size_t segment = 0;     ///< kSequential: index into InitTape::Impl::segments
  bool skippable = true;  ///< how much it draws depends on its result's size only, not on values
};

/// One recorded op. What is remembered are STORAGES, not tensor objects: an argument is a shallow
/// copy (storage and geometry), so that detach(), data(), set_data() and views need no entries.
struct Entry {
  c10::OperatorHandle op;
  Stack arguments;                  ///< as called; meta tensors as shallow copies, real ones copied
  std::vector<at::Tensor> results;  ///< shallow copies; undefined where a result is not meta
  std::vector<StorageImpl*> reads;
  std::vector<StorageImpl*> writes;  ///< written to, or made
  std::vector<WatchedConstant> constants;
  std::optional<RandomDraw> random;
  c10::ScalarType default_dtype;
};

/// kSequential: draws that follow one another from one state of one generator.
struct DrawSegment {
  at::Generator generator;
  at::Tensor first_state;
  at::Tensor expected_state;    ///< the generator's, unless somebody seeds it
  std::vector<size_t> entries;  ///< in order
};

/// A tensor made under the guard. The pointer is weak: the tape must not keep temporaries alive.
struct LiveTensor {
  c10::weak_intrusive_ptr<c10::TensorImpl> tensor;
  StorageImpl* storage;
  std::optional<uint32_t> version;  ///< when the guard ended; unset for inference tensors
};

/// InitTape::mark_unknown
struct UnknownValue {
  std::string name;
  size_t since;
};

[[noreturn]] void refuse(const char* phase, const std::string& subject, std::string message,
                         std::string remedy);

/// The storage behind a tensor; throws BuildError, naming `op`, for a tensor that is not a plain
/// strided one.
StorageImpl* storage_of(const at::Tensor& tensor, const std::string& op);

/// Another tensor object, without autograd, with the same storage and geometry.
at::Tensor shallow_copy(const at::Tensor& tensor);

}  // namespace fakescore::detail

namespace fakescore {

struct InitTape::Impl {
  explicit Impl(const MetaInitOptions& options)
      : seeds(options), records_named_devices(options.records_named_devices) {}

  bool knows(detail::StorageImpl* storage) const { return writers.count(storage) != 0; }
  void append(detail::Entry entry);
  void note_live(const at::Tensor& tensor);
  /// Nothing more is recorded: what is replayed from now on is final and may be shared.
  void seal();
  /// Throws where a tensor with this storage was written to after the guard ended.
  void check_unwritten(detail::StorageImpl* storage) const;
  /// The real storage that an earlier replay gave for this one, if somebody still holds it.
  std::optional<c10::Storage> finished_storage(detail::StorageImpl* storage) const;

  detail::SeedSource seeds;
  bool records_named_devices;
  bool sealed = false;
  std::vector<detail::Entry> entries;
  /// For each storage on the tape, the entries that made it or wrote to it, in order. The entries
  /// hold the storages, so that no address is used twice.
  std::unordered_map<detail::StorageImpl*, std::vector<size_t>> writers;
  /// Storages of meta tensors that are, in eager construction, views of a real tensor.
  std::unordered_set<detail::StorageImpl*> constant_views;
  std::unordered_map<detail::StorageImpl*, detail::UnknownValue> unknown;
  /// Operators with the dtype and the numbers that their meta kernels had nothing against.
  std::unordered_set<std::string> accepted;
  std::vector<detail::DrawSegment> segments;
  std::unordered_map<c10::GeneratorImpl*, size_t> last_segment;
  std::vector<detail::LiveTensor> live;
  std::unordered_map<detail::StorageImpl*, std::vector<size_t>> live_by_storage;  ///< once sealed
  std::unordered_map<detail::StorageImpl*, c10::weak_intrusive_ptr<detail::StorageImpl>> finished;

 private:
  void forget_dead_tensors();
  size_t live_limit_ = 1024;
};

}  // namespace fakescore
