#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/core/InferenceMode.h>

#include <cstring>
#include <functional>
#include <map>
#include <ranges>
#include <utility>

#include "fakescore/error.hpp"
#include "meta/ivalue_tensors.hpp"
#include "meta/op_info.hpp"
#include "meta/tape.hpp"
#include "tensor/copy_once.hpp"

namespace fakescore {
namespace detail {
namespace {

class DefaultDtypeKeeper {
 public:
  DefaultDtypeKeeper() : dtype_(c10::get_default_dtype()) {}
  ~DefaultDtypeKeeper() { c10::set_default_dtype(dtype_); }
  DefaultDtypeKeeper(const DefaultDtypeKeeper&) = delete;
  DefaultDtypeKeeper& operator=(const DefaultDtypeKeeper&) = delete;

 private:
  caffe2::TypeMeta dtype_;
};

/// A tensor with the geometry of `meta` on a real storage.
at::Tensor view_on(const c10::Storage& storage, const at::Tensor& meta) {
  at::Tensor real = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), meta.dtype());
  real.unsafeGetTensorImpl()->set_sizes_and_strides(meta.sizes(), meta.strides(),
                                                    meta.storage_offset());
  const size_t needed = at::detail::computeStorageNbytes(
      meta.sizes(), meta.strides(), meta.itemsize(), static_cast<size_t>(meta.storage_offset()));
  if (meta.numel() != 0 && needed > storage.nbytes()) {
    refuse("replay", "storage", "a replayed storage is smaller than a tensor in it", "");
  }
  real._set_conj(meta.is_conj());
  real._set_neg(meta.is_neg());
  return real;
}

using StorageSizes = std::unordered_map<StorageImpl*, size_t>;

StorageSizes storage_sizes(const Stack& values) {
  StorageSizes sizes;
  for (const c10::IValue& value : values) {
    for_each_tensor(value, [&](const at::Tensor& tensor) {
      sizes.emplace(tensor.storage().unsafeGetStorageImpl(), tensor.storage().nbytes());
    });
  }
  return sizes;
}

/// Memory that no op wrote to is the heap's: what a builder leaves unset is zero on every rank.
void zero_new_bytes(const Stack& results, const StorageSizes& before) {
  for (const auto& [storage, bytes] : storage_sizes(results)) {
    const auto found = before.find(storage);
    const size_t kept = found == before.end() ? 0 : found->second;
    if (bytes > kept)
      std::memset(static_cast<char*>(storage->mutable_data()) + kept, 0, bytes - kept);
  }
}

/// Computes the storages behind some tensors from the entries that they depend on, in their order.
class Replay {
 public:
  Replay(InitTape::Impl& tape, const std::vector<at::Tensor>& targets);
  std::vector<at::Tensor> run();

 private:
  enum class Role { kDrawOnly, kRun };

  void plan();
  void check_known(const Entry& entry, size_t index) const;
  void want_writers(StorageImpl* storage, size_t before);
  void want_draws(const Entry& entry, size_t before);
  void find_last_uses();

  void execute(size_t index, Role role);
  static void call(const Entry& entry, Stack& stack);
  Stack real_arguments(const Entry& entry, Role role) const;
  void prepare_generator(const RandomDraw& draw);
  void keep_results(const Entry& entry, const Stack& results,
                    const StorageSizes& argument_storages);
  void drop_unneeded(const Entry& entry, size_t index);
  at::Tensor value_of(const at::Tensor& meta) const;
  at::Tensor finish(const at::Tensor& target);

  InitTape::Impl& tape_;
  const std::vector<at::Tensor>& targets_;
  std::unordered_set<StorageImpl*> target_storages_;
  std::map<size_t, Role, std::greater<>> plan_;  ///< last entry first
  std::unordered_set<StorageImpl*> wanted_;
  std::unordered_set<size_t> wanted_segments_;
  std::unordered_map<StorageImpl*, size_t> last_use_;
  std::unordered_map<StorageImpl*, c10::Storage> values_;
  std::optional<size_t> loaded_segment_;
  std::unordered_map<size_t, at::Tensor> segment_states_;
};

Replay::Replay(InitTape::Impl& tape, const std::vector<at::Tensor>& targets)
    : tape_(tape), targets_(targets) {
  for (const at::Tensor& target : targets) {
    if (!target.is_meta()) continue;
    StorageImpl* storage = storage_of(target, "replay");
    if (!tape_.knows(storage)) {
      refuse("replay", "target",
             "a meta tensor is not on this tape: it was made elsewhere, or after the "
             "MetaInitGuard had ended",
             "make it under the guard");
    }
    // Any number of targets may lie in one storage, and the check looks at all tensors in it.
    if (!target_storages_.insert(storage).second) continue;
    // Once replayed, the storage is real somewhere, and may well be written to.
    if (tape_.sealed && !tape_.finished_storage(storage)) tape_.check_unwritten(storage);
  }
}

std::vector<at::Tensor> Replay::run() {
  // What is finished has strong references from here on: it must not vanish on the way.
  std::unordered_map<StorageImpl*, c10::Storage> finished;
  for (StorageImpl* storage : target_storages_) {
    if (auto found = tape_.finished_storage(storage)) finished.emplace(storage, *found);
  }
  plan();
  find_last_uses();
  for (const auto& [index, role] : std::views::reverse(plan_)) execute(index, role);
  // A finished storage wins over one recomputed on the way: others hold it, and may have gone on
  // to write to it.
  for (const auto& [storage, value] : finished) values_.insert_or_assign(storage, value);
  std::vector<at::Tensor> results;
  results.reserve(targets_.size());
  for (const at::Tensor& target : targets_) results.push_back(finish(target));
  return results;
}

void Replay::plan() {
  for (StorageImpl* storage : target_storages_) {
    if (!tape_.finished_storage(storage)) want_writers(storage, tape_.entries.size());
  }
  // What a step wants lies before it, hence behind it in this map: one pass sees everything.
  for (auto& [index, role] : plan_) {
    const Entry& entry = tape_.entries[index];
    if (entry.random && tape_.seeds.mode() == RandomMode::kSequential) {
      if (!entry.random->skippable) role = Role::kRun;
      want_draws(entry, index);
    }
    if (role == Role::kDrawOnly) continue;
    check_known(entry, index);
    for (StorageImpl* storage : entry.reads) want_writers(storage, index);
    for (StorageImpl* storage : entry.writes) want_writers(storage, index);
  }
}

void Replay::check_known(const Entry& entry, size_t index) const {
  for (StorageImpl* storage : entry.reads) {
    const auto found = tape_.unknown.find(storage);
    if (found == tape_.unknown.end() || index < found->second.since) continue;
    refuse("replay", entry.op.schema().name(),
           "computes with " + found->second.name +
               ", whose weights are read after the module is built",
           "compute it after the fill, or let the teacher have the result");
  }
}

void Replay::want_writers(StorageImpl* storage, size_t before) {
  // The walk goes back in time, so that whoever asks first asks for the most.
  if (!wanted_.insert(storage).second) return;
  for (const size_t index : tape_.writers.at(storage)) {
    if (index < before) plan_.insert_or_assign(index, Role::kRun);
  }
}

void Replay::want_draws(const Entry& entry, size_t before) {
  if (!wanted_segments_.insert(entry.random->segment).second) return;
  for (const size_t index : tape_.segments[entry.random->segment].entries) {
    if (index < before) plan_.try_emplace(index, Role::kDrawOnly);
  }
}

void Replay::find_last_uses() {
  for (const auto& [index, role] : plan_) {
    if (role == Role::kDrawOnly) continue;
    for (StorageImpl* storage : tape_.entries[index].reads) last_use_.try_emplace(storage, index);
    for (StorageImpl* storage : tape_.entries[index].writes) last_use_.try_emplace(storage, index);
  }
}

void Replay::execute(size_t index, Role role) {
  const Entry& entry = tape_.entries[index];
  for (const WatchedConstant& constant : entry.constants) {
    if (constant.tensor._version() != constant.version) {
      refuse("replay", entry.op.schema().name(),
             "a real tensor that this op used under the MetaInitGuard has changed since",
             "leave the tensor as it is until the module is real, or clone it first");
    }
  }
  Stack stack = real_arguments(entry, role);
  const StorageSizes argument_storages = storage_sizes(stack);
  c10::set_default_dtype(c10::scalarTypeToTypeMeta(entry.default_dtype));
  if (entry.random) prepare_generator(*entry.random);
  call(entry, stack);
  if (role == Role::kDrawOnly) return;
  if (op_info(entry.op).leaves_unset) zero_new_bytes(stack, argument_storages);
  keep_results(entry, stack, argument_storages);
  drop_unneeded(entry, index);
}

void Replay::call(const Entry& entry, Stack& stack) {
  try {
    entry.op.callBoxed(&stack);
  } catch (...) {
    ErrorInfo info = describe_current_exception(-1, "replay", ErrorCode::kBuild);
    if (info.subject.empty()) info.subject = entry.op.schema().name();
    throw_error(std::move(info));
  }
}

Stack Replay::real_arguments(const Entry& entry, Role role) const {
  const OpInfo& info = op_info(entry.op);
  Stack stack;
  stack.reserve(entry.arguments.size());
  for (size_t i = 0; i < entry.arguments.size(); ++i) {
    const c10::IValue& argument = entry.arguments[i];
    if (i == info.generator) {
      stack.emplace_back();
    } else if (i == info.device) {
      stack.push_back(entry.reads.empty() || !argument.isNone() ? c10::Device(c10::kCPU)
                                                                : c10::IValue());
    } else {
      stack.push_back(map_tensors(argument, [&](const at::Tensor& tensor) {
        if (!tensor.is_meta()) return tensor;
        if (role == Role::kRun) return value_of(tensor);
        return at::empty_strided(tensor.sizes(), tensor.strides(),
                                 tensor.options().device(c10::kCPU));
      }));
    }
  }
  return stack;
}

void Replay::prepare_generator(const RandomDraw& draw) {
  if (tape_.seeds.mode() == RandomMode::kPerOp) {
    seed_default_generator(tape_.seeds.value(draw.seed));
    return;
  }
  if (loaded_segment_ == draw.segment) return;
  const at::Generator& generator = at::detail::getDefaultCPUGenerator();
  if (loaded_segment_) segment_states_[*loaded_segment_] = generator_state(generator);
  const auto paused = segment_states_.find(draw.segment);
  set_generator_state(generator, paused != segment_states_.end()
                                     ? paused->second
                                     : tape_.segments[draw.segment].first_state);
  loaded_segment_ = draw.segment;
}

void Replay::keep_results(const Entry& entry, const Stack& results,
                          const StorageSizes& argument_storages) {
  size_t next = 0;
  const auto keep = [&](const at::Tensor& result) {
    const at::Tensor& meta = entry.results.at(next++);
    if (!meta.defined()) return;
    StorageImpl* storage = storage_of(meta, entry.op.schema().name());
    if (values_.count(storage) != 0) return;
    const bool same_layout =
        result.strides() == meta.strides() && result.storage_offset() == meta.storage_offset() &&
        result.is_conj() == meta.is_conj() && result.is_neg() == meta.is_neg() &&
        result.storage().nbytes() >= meta.storage().nbytes();
    if (result.sizes() != meta.sizes() || result.dtype() != meta.dtype()) {
      refuse("replay", entry.op.schema().name(),
             "made a tensor of another size or dtype than it did when it was recorded", "");
    }
    // A constant of the tape must not be handed out.
    if (same_layout && argument_storages.count(result.storage().unsafeGetStorageImpl()) == 0) {
      values_.emplace(storage, result.storage());
      return;
    }
    const auto nbytes = static_cast<int64_t>(meta.storage().nbytes());
    values_.emplace(storage, at::zeros({nbytes}, at::TensorOptions(c10::kByte)).storage());
    copy_once(value_of(meta), result);
  };
  for (const c10::IValue& result : results) for_each_tensor(result, keep);
}

void Replay::drop_unneeded(const Entry& entry, size_t index) {
  const auto drop = [&](StorageImpl* storage) {
    if (last_use_.at(storage) == index && target_storages_.count(storage) == 0) {
      values_.erase(storage);
    }
  };
  for (StorageImpl* storage : entry.reads) drop(storage);
  for (StorageImpl* storage : entry.writes) drop(storage);
}

at::Tensor Replay::value_of(const at::Tensor& meta) const {
  const auto found = values_.find(meta.storage().unsafeGetStorageImpl());
  if (found == values_.end()) {
    refuse("replay", "storage", "a recorded op needs a tensor that no recorded op made", "");
  }
  return view_on(found->second, meta);
}

at::Tensor Replay::finish(const at::Tensor& target) {
  if (!target.is_meta()) return target;
  at::Tensor value = value_of(target);
  if (tape_.sealed) {
    tape_.finished.insert_or_assign(target.storage().unsafeGetStorageImpl(),
                                    value.storage().getWeakStorageImpl());
  }
  if (target.is_leaf() && target.requires_grad()) value.set_requires_grad(true);
  return value;
}

}  // namespace
}  // namespace detail

std::vector<at::Tensor> InitTape::replay(const std::vector<at::Tensor>& targets) {
  const MetaInitPause not_recorded;
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  const detail::DefaultGeneratorKeeper generator;
  const detail::DefaultDtypeKeeper dtype;
  return detail::Replay(*impl_, targets).run();
}

}  // namespace fakescore
