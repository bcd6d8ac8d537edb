#include "meta/recorder.hpp"

#include <ATen/ATen.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>

#include <unordered_set>
#include <utility>

#include "meta/ivalue_tensors.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kLargestCopiedConstant = size_t{1} << 20;

at::Tensor empty_meta_like(const at::Tensor& tensor) {
  return at::empty_strided(tensor.sizes(), tensor.strides(),
                           tensor.options().device(c10::kMeta).pinned_memory(std::nullopt));
}

bool autocast_enabled() {
  return !c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::AutocastCPU) ||
         !c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::AutocastCUDA);
}

}  // namespace

Recorder::Recorder(const c10::OperatorHandle& op, InitTape& tape, Stack& stack)
    : op_(op),
      name_(op.schema().name()),
      info_(op_info(op)),
      tape_(tape),
      impl_(*tape.impl_),
      stack_(stack),
      count_(op.schema().arguments().size()) {}

void Recorder::refuse_op(std::string message, std::string remedy) const {
  refuse("build", name_, std::move(message), std::move(remedy));
}

c10::IValue Recorder::generator_argument() {
  return info_.generator ? argument(*info_.generator) : c10::IValue();
}

void Recorder::run() {
  if (autocast_enabled()) {
    refuse_op("autocast is enabled under a MetaInitGuard", "build the module without autocast");
  }
  classify_arguments();
  check_supported();
  if (runs_as_called()) {
    call_real(stack_);
  } else if (has_meta_ && (info_.reads_values || writes_real_)) {
    put_values(stack_);
    call_real(stack_);
  } else {
    record();
  }
}

void Recorder::classify_arguments() {
  for (size_t i = 0; i < count_; ++i) {
    for_each_tensor(argument(i), [&](const at::Tensor& tensor) {
      if (!tensor.is_meta()) {
        has_real_ = true;
        writes_real_ |= info_.writes[i];
        return;
      }
      has_meta_ = true;
      writes_meta_ |= info_.writes[i];
      StorageImpl* storage = storage_of(tensor, name_);
      if (!impl_.knows(storage)) {
        refuse_op("uses a meta tensor that was not made under this MetaInitGuard",
                  "make the tensor under the guard, or pass a real one");
      }
      if (info_.writes[i] && impl_.constant_views.count(storage) != 0) {
        refuse_op("writes to a view of a real tensor", "clone the view first");
      }
    });
  }
}

void Recorder::check_supported() {
  if (writes_real_ && writes_meta_) {
    // It would run at once, on a copy of the meta tensor's value that nobody sees again.
    refuse_op("writes to a real and to a meta tensor at once",
              "make every tensor that it writes to under the guard, or call it once for each");
  }
  const bool factory = !has_meta_ && !has_real_;
  if (!info_.device || (has_real_ && !has_meta_)) return;
  const c10::IValue& device = argument(*info_.device);
  if (!impl_.records_named_devices && device.isDevice() && !device.toDevice().is_cpu() &&
      !device.toDevice().is_meta()) {
    refuse_op(c10::str("asks for a tensor on ", device.toDevice()),
              "build the module for the CPU, or without naming a device");
  }
  if (factory && info_.pin_memory && argument(*info_.pin_memory).isBool() &&
      argument(*info_.pin_memory).toBool()) {
    refuse_op("asks for pinned memory", "build the module without pinned memory");
  }
}

bool Recorder::runs_as_called() {
  if (has_meta_) return false;
  if (!info_.device) return true;
  const c10::IValue& device = argument(*info_.device);
  // Builders pass on the options of tensors that they made: what says meta here is the CPU there.
  if (device.isDevice() && device.toDevice().is_meta()) return false;
  // torch::tensor(vector) names the CPU and then writes through a pointer.
  return has_real_ || (!device.isNone() && !impl_.records_named_devices);
}

void Recorder::call_real(Stack& stack) {
  if (!info_.random) {
    op_.callBoxed(&stack);
    return;
  }
  if (impl_.seeds.mode() == RandomMode::kSequential) {
    refuse_op("draws random numbers immediately, before the recorded ops have drawn theirs",
              "use RandomMode::kPerOp");
  }
  const c10::IValue generator =
      info_.generator ? stack_argument(stack, count_, *info_.generator) : c10::IValue();
  call_seeded(op_, info_, &stack, impl_.seeds.value(impl_.seeds.next(generator)));
}

void Recorder::put_values(Stack& stack) {
  std::vector<at::Tensor> metas;
  for (size_t i = 0; i < count_; ++i) {
    for_each_tensor(stack_argument(stack, count_, i), [&](const at::Tensor& tensor) {
      if (tensor.is_meta()) metas.push_back(tensor);
    });
  }
  const std::vector<at::Tensor> values = tape_.replay(metas);
  size_t next = 0;
  for (size_t i = 0; i < count_; ++i) {
    c10::IValue& value = stack_argument(stack, count_, i);
    value = map_tensors(value, [&](const at::Tensor& tensor) {
      return tensor.is_meta() ? values[next++].detach() : tensor;
    });
  }
  if (info_.device) stack_argument(stack, count_, *info_.device) = c10::Device(c10::kCPU);
}

void Recorder::record() {
  Entry entry = make_entry();
  if (info_.random) entry.random = note_draw(entry);
  const Stack as_called(stack_.end() - static_cast<std::ptrdiff_t>(count_), stack_.end());
  const std::optional<std::string> by_numbers = call_by_its_numbers();
  if (by_numbers && impl_.accepted.count(*by_numbers) != 0) {
    argument(0).toTensor().unsafeGetTensorImpl()->bump_version();
    call_without_meta_kernel(as_called, stack_.size() - count_);
  } else {
    call_on_meta(as_called);
    check_written_arguments(as_called);
    if (by_numbers) impl_.accepted.insert(*by_numbers);
  }
  const bool made_storage = note_results(entry);
  // A pure view needs no entry: its storage and geometry say everything.
  if (made_storage || info_.writes_any) impl_.append(std::move(entry));
}

Entry Recorder::make_entry() {
  Entry entry{op_, {}, {}, {}, {}, {}, {}, c10::typeMetaToScalarType(c10::get_default_dtype())};
  entry.arguments.reserve(count_);
  for (size_t i = 0; i < count_; ++i) {
    entry.arguments.push_back(map_tensors(argument(i), [&](const at::Tensor& tensor) {
      if (!tensor.is_meta()) return remember_real(tensor, entry);
      StorageImpl* storage = storage_of(tensor, name_);
      entry.reads.push_back(storage);
      if (info_.writes[i]) entry.writes.push_back(storage);
      return shallow_copy(tensor);
    }));
  }
  return entry;
}

at::Tensor Recorder::remember_real(const at::Tensor& tensor, Entry& entry) {
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) return shallow_copy(tensor);
  storage_of(tensor, name_);
  // An inference tensor has no version to watch.
  if (tensor.nbytes() <= kLargestCopiedConstant || tensor.is_inference()) {
    return tensor.detach().clone();
  }
  at::Tensor watched = tensor.detach();
  entry.constants.push_back({watched, static_cast<uint32_t>(watched._version())});
  return watched;
}

RandomDraw Recorder::note_draw(const Entry& entry) {
  RandomDraw draw;
  const c10::IValue generator = generator_argument();
  draw.seed = impl_.seeds.next(generator);
  if (impl_.seeds.mode() == RandomMode::kSequential) {
    draw.segment = current_segment(generator_of(generator));
  }
  for (size_t i = 0; i < count_; ++i) {
    for_each_tensor(entry.arguments[i],
                    [&](const at::Tensor&) { draw.skippable &= info_.writes[i]; });
  }
  // A meta kernel asks no generator, and some refuse a CPU one.
  if (info_.generator) argument(*info_.generator) = c10::IValue();
  return draw;
}

size_t Recorder::current_segment(const at::Generator& generator) {
  const auto turn = take_generator_turn();
  c10::GeneratorImpl* key = generator.unsafeGetGeneratorImpl();
  const at::Tensor state = generator_state(generator);
  const auto last = impl_.last_segment.find(key);
  if (last != impl_.last_segment.end() &&
      at::equal(impl_.segments[last->second].expected_state, state)) {
    return last->second;
  }
  // Recorded ops do not advance the generator. One draw moves it away from where it started, so
  // that seeding it again, even with the same seed, is noticed.
  const at::Generator scratch = generator.clone();
  at::Tensor advanced = at::empty({1}, at::TensorOptions(c10::kCPU).dtype(c10::kLong));
  advanced.random_(scratch);
  const at::Tensor expected = generator_state(scratch);
  set_generator_state(generator, expected);
  impl_.segments.push_back({generator, state, expected, {}});
  impl_.last_segment[key] = impl_.segments.size() - 1;
  return impl_.segments.size() - 1;
}

/// A call of which its operator, dtype and numbers tell whether it is refused, as a key of what was
/// accepted; it returns its first argument.
std::optional<std::string> Recorder::call_by_its_numbers() {
  if (!info_.values_alone || c10::impl::TorchDispatchModeTLS::any_modes_set()) return {};
  const at::Tensor& tensor = argument(0).toTensor();
  const bool autograd_has_a_say = tensor.requires_grad() && at::GradMode::is_enabled();
  if (!tensor.is_meta() || autograd_has_a_say || tensor.is_inference() ||
      !tensor.is_floating_point() || !tensor.is_contiguous() ||
      tensor.key_set().has(c10::DispatchKey::Python)) {
    return {};
  }
  std::string key = name_ + '\0' + toString(tensor.scalar_type());
  const auto add = [&key](char kind, const auto& number) {
    key += kind;
    key.append(reinterpret_cast<const char*>(&number), sizeof(number));
  };
  for (size_t i = 1; i < count_; ++i) {
    const c10::IValue& value = argument(i);
    if (value.isDouble()) {
      add('d', value.toDouble());
    } else if (value.isInt()) {
      add('i', value.toInt());
    } else if (value.isNone()) {
      key += 'n';
    } else {
      return {};
    }
  }
  return key;
}

void Recorder::call_on_meta(const Stack& as_called) {
  const size_t base = stack_.size() - count_;
  if (info_.dynamic_shape) {
    call_without_meta_kernel(as_called, base);
    return;
  }
  try {
    put_meta_arguments();
    op_.callBoxed(&stack_);
    return;
  } catch (const c10::NotImplementedError&) {
  } catch (const c10::Error&) {
    // Some composites read values on the way, which meta tensors answer with a plain error. If the
    // mistake is the caller's, the real run says so too, and better.
    if (info_.writes_any || !has_meta_) throw;
  }
  call_without_meta_kernel(as_called, base);
}

void Recorder::call_without_meta_kernel(const Stack& as_called, size_t base) {
  stack_.resize(base);
  if (info_.writes_any) {
    return_written_arguments(as_called);
  } else {
    learn_geometry(as_called);
  }
}

void Recorder::put_meta_arguments() {
  if (info_.device) {
    c10::IValue& device = argument(*info_.device);
    if (!has_meta_ || !device.isNone()) device = c10::Device(c10::kMeta);
  }
  if (info_.pin_memory) argument(*info_.pin_memory) = c10::IValue();
  if (!has_real_) return;
  for (size_t i = 0; i < count_; ++i) {
    argument(i) =
        map_tensors(argument(i), [&](const at::Tensor& tensor) { return stand_in(tensor); });
  }
}

at::Tensor Recorder::stand_in(const at::Tensor& tensor) {
  // Meta kernels take CPU scalars, and type promotion treats them as scalars.
  if (tensor.is_meta() || tensor.dim() == 0) return tensor;
  at::Tensor meta = empty_meta_like(tensor);
  stand_ins_.insert(storage_of(meta, name_));
  return meta;
}

void Recorder::learn_geometry(const Stack& as_called) {
  const DefaultGeneratorKeeper keeper;
  Stack probe = as_called;
  if (info_.generator) probe[*info_.generator] = c10::IValue();
  put_values(probe);
  op_.callBoxed(&probe);
  for (const c10::IValue& result : probe) {
    stack_.push_back(map_tensors(result, [&](const at::Tensor& tensor) {
      storage_of(tensor, name_);
      return empty_meta_like(tensor);
    }));
  }
}

void Recorder::return_written_arguments(const Stack& as_called) {
  const size_t returns = op_.schema().returns().size();
  const size_t base = stack_.size();
  for (size_t i = 0; i < count_ && returns > 0; ++i) {
    if (info_.writes[i]) stack_.push_back(as_called[i]);
  }
  if (info_.has_out || stack_.size() - base != returns) {
    refuse_op("writes to a meta tensor but cannot run on the meta device",
              "use the variant of the op that returns a new tensor");
  }
}

void Recorder::check_written_arguments(const Stack& as_called) {
  for (size_t i = 0; i < count_; ++i) {
    if (!info_.writes[i]) continue;
    for_each_tensor(as_called[i], [&](const at::Tensor& tensor) {
      if (stand_ins_.count(storage_of(tensor, name_)) == 0) return;
      refuse_op("makes a meta tensor share the storage of a real one", "clone the real tensor");
    });
  }
}

bool Recorder::note_results(Entry& entry) {
  std::unordered_set<StorageImpl*> made;
  const size_t returns = op_.schema().returns().size();
  for (size_t i = 0; i < returns; ++i) {
    for_each_tensor(stack_argument(stack_, returns, i), [&](const at::Tensor& tensor) {
      if (tensor.device().is_cpu()) {
        entry.results.emplace_back();
        return;
      }
      StorageImpl* storage = storage_of(tensor, name_);
      // What the op was given to write to is known.
      if (!impl_.knows(storage) && made.insert(storage).second) {
        entry.writes.push_back(storage);
        if (stand_ins_.count(storage) != 0) impl_.constant_views.insert(storage);
      }
      if (!info_.writes_any) impl_.note_live(tensor);
      entry.results.push_back(shallow_copy(tensor));
    });
  }
  return !made.empty();
}

}  // namespace fakescore::detail
