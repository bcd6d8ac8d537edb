#include "factory/meta_job.hpp"

#include <torch/nn/module.h>

#include <sstream>
#include <unordered_set>

#include "core/broken_device.hpp"
#include "core/copy_once.hpp"
#include "factory/cast_module.hpp"
#include "factory/host_memory.hpp"
#include "factory/trainable.hpp"
#include "fakescore/sync/run_agreed.hpp"
#include "sync/agreement.hpp"
#include "sync/options_check.hpp"
#include "sync/populate.hpp"
#include "sync/storage_bytes.hpp"
#include "sync/verify.hpp"

namespace fakescore::detail {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// "cuda" alone is the communicator's GPU.
at::Device device_for(const MetaOptions& options, const Communicator& communicator) {
  const at::Device own = communicator.device();
  const at::Device wanted = options.device.value_or(own);
  return !wanted.has_index() && wanted.type() == own.type() ? own : wanted;
}

std::string describe(const MetaOptions& options, at::Device device) {
  // Ranks have GPUs of their own: the index may differ.
  return "device=" + c10::DeviceTypeName(device.type(), /*lower_case=*/true) +
         " root=" + std::to_string(options.root) +
         " bucket_bytes=" + describe_bytes(options.bucket_bytes) +
         " strict=" + std::to_string(options.strict) + " verify=" + std::to_string(options.verify) +
         " dtype=" + (options.dtype ? c10::toString(*options.dtype) : "unchanged");
}

/// How many ranks share each limit, this one included.
std::vector<size_t> count_sharers(Communicator& communicator,
                                  const std::vector<MemoryLimit>& limits) {
  std::string own;
  for (const MemoryLimit& limit : limits) own += limit.id + "\n";
  std::vector<size_t> sharers(limits.size());
  for (const std::string& theirs : communicator.all_gather(own, "place")) {
    std::istringstream lines(theirs);
    for (std::string id; std::getline(lines, id);) {
      for (size_t i = 0; i < limits.size(); ++i) sharers[i] += limits[i].id == id ? 1 : 0;
    }
  }
  return sharers;
}

}  // namespace

void check_meta_options(const Communicator& communicator, const MetaOptions& options) {
  check_options(communicator, options.root, options.bucket_bytes);
  check_pinned_bytes(options.pinned_bytes);
  if (options.dtype && !at::isFloatingType(*options.dtype)) {
    throw_error({ErrorCode::kConfig, -1, "", "option dtype",
                 std::string(c10::toString(*options.dtype)) + " is not a floating-point dtype",
                 "give one that parameters can be trained in, or none"});
  }
  if (options.timeout && options.timeout->count() <= 0) {
    throw_error({ErrorCode::kConfig, -1, "", "option timeout",
                 std::to_string(options.timeout->count()) + " ms is not a time to wait for",
                 "give more than the slowest step of any rank takes"});
  }
}

MetaJob::MetaJob(const ModuleBuilder& build, const TeacherSource& teacher,
                 Communicator& communicator, const MetaOptions& options)
    : build_(build),
      source_(teacher),
      communicator_(communicator),
      options_(options),
      device_(device_for(options, communicator)) {
  report_.world_size = communicator.world_size();
}

MetaResult MetaJob::run() {
  try {
    run_phases();
  } catch (const Error&) {
    if (!device_.is_cpu() && placement_ && !is_usable(device_))
      keep_for_good(placement_->storages());
    throw;
  }
  return {module_, std::move(report_)};
}

void MetaJob::run_phases() {
  const TrainableTensors trainable;
  phase("build", [this] { build(); });
  phase("agree", [this] { agree_on_structure(); });
  phase("plan", [this] { plan(); });
  phase("place", [this] { place(); });
  phase("move", [this] { move(); });
  phase("replay", [this] { replay(); });
  if (options_.verify) phase("verify", [this] { verify(); });
  phase("finish", [this] { finish(); });
  gather_report();
}

void MetaJob::phase(const std::string& name, const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  report_.phases.push_back({name, 0, 0});
  body();
  report_.phases.back().seconds = seconds_since(begin);
}

void MetaJob::build() {
  run_agreed(communicator_, "build", ErrorCode::kBuild, [this] {
    check_meta_options(communicator_, options_);
    data_plane_.emplace(communicator_, device_);
    report_.backend = data_plane_->communicator().backend();
    const MetaInitGuard guard(options_.init);
    tape_ = guard.tape();
    module_ = build_ ? build_() : nullptr;
    if (!module_) {
      throw_error({ErrorCode::kBuild, -1, "", "build", "is empty or returned no module",
                   "pass a callable that returns a module"});
    }
    if (options_.dtype) {
      cast_floating_tensors(*module_, *options_.dtype, tape_->live_tensors());
    }
    tensors_ = module_tensors(*module_);
    add_unregistered_tensors();
    manifest_ = Manifest(tensors_);
    occupied_ = occupied_bytes_by_group(manifest_);
  });
}

void MetaJob::add_unregistered_tensors() {
  std::unordered_set<const c10::TensorImpl*> registered;
  for (const ModuleTensor& entry : tensors_) registered.insert(entry.tensor.unsafeGetTensorImpl());
  size_t count = 0;
  for (const at::Tensor& tensor : tape_->live_tensors()) {
    if (!registered.insert(tensor.unsafeGetTensorImpl()).second) continue;
    tensors_.push_back(
        {"(unregistered " + std::to_string(count++) + ")", tensor, TensorKind::kUnregistered});
  }
}

void MetaJob::agree_on_structure() {
  agree_on_value(communicator_, "agree", "options", describe(options_, device_));
  agree_on_manifest(communicator_, manifest_, options_.root);
}

void MetaJob::plan() {
  run_agreed(communicator_, "plan", ErrorCode::kTeacher, [this] {
    if (is_root()) plan_on_root();
  });
  const std::string bytes =
      communicator_.broadcast_message(is_root() ? plan_.serialize() : "", options_.root, "plan");
  if (!is_root()) plan_ = LoadPlan::deserialize(bytes);
}

void MetaJob::plan_on_root() {
  teacher_ = source_.open();
  plan_ = make_load_plan(manifest_, teacher_->tensors(), source_.description(), options_.strict);
  check_tied_values(plan_);
}

/// A teacher may hold a tied tensor under each of its names; the values must then be the same.
void MetaJob::check_tied_values(const LoadPlan& plan) {
  for (const GroupPlan& group : plan.groups) {
    if (group.fills.size() < 2) continue;
    const TensorSpec& reference = manifest_.specs()[group.fills.front().spec];
    std::optional<Digest> first;
    for (const auto& fill : group.fills) {
      if (!same_view(manifest_.specs()[fill.spec], reference)) continue;
      const Digest digest = digest_tensor(read_teacher(fill.teacher).to(reference.dtype));
      if (first && *first != digest) {
        throw_error({ErrorCode::kTeacher, -1, "", manifest_.specs()[fill.spec].name,
                     "is tied to " + reference.name +
                         " in the module, but the teacher holds other values for it",
                     "build a module that does not tie them, or mend the teacher"});
      }
      first = digest;
    }
  }
}

void MetaJob::place() {
  const auto limits = device_.is_cpu() ? memory_limits() : std::vector<MemoryLimit>();
  const auto sharers = count_sharers(communicator_, limits);
  run_agreed(communicator_, "place", ErrorCode::kMemory, [&] {
    placement_.emplace(manifest_, device_);
    placement_->check_fits(limits, sharers);
    for (const GroupPlan& group : plan_.groups) placement_->allocate(group.group);
  });
}

void MetaJob::move() { broadcast(/*replayed=*/false, "move"); }

void MetaJob::replay() {
  run_agreed(communicator_, "replay", ErrorCode::kBuild, [this] {
    if (is_root()) replay_on_root();
  });
  broadcast(/*replayed=*/true, "replay");
  teacher_.reset();
  tape_.reset();
}

void MetaJob::replay_on_root() {
  std::unordered_set<int64_t> groups;
  for (const GroupPlan& group : plan_.groups) {
    if (group.mode == FillMode::kReplay) groups.insert(group.group);
  }
  std::vector<at::Tensor> targets;
  std::vector<int64_t> group_of;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!groups.contains(manifest_.specs()[i].alias_group)) continue;
    targets.push_back(tensors_[i].tensor);
    group_of.push_back(manifest_.specs()[i].alias_group);
  }
  try {
    const auto values = tape_->replay(targets);
    for (size_t i = 0; i < values.size(); ++i) placement_->adopt(group_of[i], values[i]);
  } catch (const Error& error) {
    ErrorInfo info = error.info();
    info.message += "; wanted for " + manifest_.first_of_group(group_of.front()).name;
    if (groups.size() > 1) {
      info.message += " or one of " + std::to_string(groups.size() - 1) + " more tensors";
    }
    throw_error(std::move(info));
  }
}

void MetaJob::broadcast(bool replayed, const std::string& phase) {
  std::vector<Transfer> transfers;
  for (const GroupPlan& group : plan_.groups) {
    if ((group.mode == FillMode::kReplay) != replayed) continue;
    transfers.push_back(make_transfer(group));
  }
  const auto result =
      broadcast_transfers(data_plane_->communicator(), transfers,
                          {options_.root, bucket_bytes_for(device_, options_.bucket_bytes),
                           options_.pinned_bytes, phase, options_.progress});
  agree(communicator_, phase, result.failure);
  report_.phases.back().bytes = result.bytes;
  report_.bytes += result.bytes;
}

/// A teacher may lie on another GPU than the fake score, or on one while that is on the CPU.
at::Tensor MetaJob::read_teacher(size_t index) {
  const at::Tensor tensor = teacher_->read(index);
  return tensor.is_cpu() || tensor.device() == device_ ? tensor : tensor.to(device_);
}

Transfer MetaJob::make_transfer(const GroupPlan& group) {
  const TensorSpec& first = manifest_.first_of_group(group.group);
  Transfer transfer;
  transfer.name = first.name;
  transfer.layout.ranges = occupied_[static_cast<size_t>(group.group)];
  if (group.mode == FillMode::kCast) transfer.layout.cast = Cast{group.wire, first.dtype};
  transfer.destination = placement_->bytes(group.group);
  if (!is_root() || group.fills.empty()) return transfer;
  if (group.mode == FillMode::kInPlace || group.mode == FillMode::kCast) {
    transfer.reads_host_memory = teacher_->tensors()[group.fills.front().teacher].device.is_cpu();
    transfer.open_source = [this, index = group.fills.front().teacher] {
      return element_bytes(read_teacher(index).resolve_conj().resolve_neg().contiguous());
    };
  } else {
    transfer.open_source = [this, &group] {
      assemble(group);
      return at::Tensor();
    };
  }
  return transfer;
}

void MetaJob::assemble(const GroupPlan& group) {
  const at::Tensor& storage = placement_->bytes(group.group);
  if (storage.is_cpu()) populate_pages(storage.mutable_data_ptr(), storage.nbytes());
  for (const auto& fill : group.fills) {
    copy_once(placement_->tensor(fill.spec), read_teacher(fill.teacher));
  }
  check_overlaps(group);
}

/// Where elements that were filled share memory, none may have overwritten what another brought.
void MetaJob::check_overlaps(const GroupPlan& group) {
  size_t filled = 0;
  std::vector<ByteRange> ranges;
  for (const auto& fill : group.fills) {
    const TensorSpec& spec = manifest_.specs()[fill.spec];
    filled += static_cast<size_t>(element_count(spec)) * c10::elementSize(spec.dtype);
    const auto occupied = occupied_bytes(spec);
    ranges.insert(ranges.end(), occupied.begin(), occupied.end());
  }
  size_t distinct = 0;
  for (const ByteRange& range : merge(std::move(ranges))) distinct += range.size();
  if (filled == distinct) return;
  for (const auto& fill : group.fills) {
    const TensorSpec& spec = manifest_.specs()[fill.spec];
    const at::Tensor wanted = read_teacher(fill.teacher).to(spec.dtype);
    if (digest_tensor(placement_->tensor(fill.spec)) == digest_tensor(wanted)) continue;
    throw_error({ErrorCode::kTeacher, -1, "", spec.name,
                 "shares memory, within itself or with other tensors of the module, for which the "
                 "teacher holds contradictory values",
                 "build a module that shares no such memory, or mend the teacher"});
  }
}

void MetaJob::verify() {
  std::vector<ModuleTensor> values;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    values.push_back({tensors_[i].name, placement_->tensor(i), tensors_[i].kind});
  }
  report_.digest = verify_across_ranks(communicator_, values, options_.root);
}

void MetaJob::finish() {
  run_agreed(communicator_, "finish", ErrorCode::kInternal, [this] { fill_module(); });
  report_.missing = std::move(plan_.missing);
  report_.unexpected = std::move(plan_.unexpected);
  report_.replayed = std::move(plan_.replayed);
  report_.cast = std::move(plan_.cast);
}

void MetaJob::fill_module() {
  const at::NoGradGuard no_grad;
  std::unordered_set<const c10::TensorImpl*> done;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!done.insert(tensors_[i].tensor.unsafeGetTensorImpl()).second) continue;
    materialize_into(tensors_[i].tensor, placement_->tensor(i));
  }
  // A parameter may be listed first as a buffer of another module.
  for (const ModuleTensor& entry : tensors_) {
    if (entry.kind == TensorKind::kParameter) require_gradients(entry.tensor);
  }
  module_->train();
}

}  // namespace fakescore::detail
