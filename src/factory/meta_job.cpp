#include "factory/meta_job.hpp"

#include <torch/nn/module.h>

#include <sstream>
#include <unordered_set>

#include "comm/agreement.hpp"
#include "core/broken_device.hpp"
#include "factory/host_memory.hpp"
#include "factory/meta_structure.hpp"
#include "factory/read_agreement.hpp"
#include "factory/trainable.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "sync/manifest_agreement.hpp"
#include "sync/options_check.hpp"
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

std::string describe(const std::vector<DtypeRule>& rules) {
  std::string text;
  for (const DtypeRule& rule : rules) {
    text += (text.empty() ? "" : ",") + rule.pattern + "=" + c10::toString(rule.dtype);
  }
  return text.empty() ? "none" : text;
}

std::string describe(const MetaOptions& options, at::Device device) {
  // Ranks have GPUs of their own: the index may differ.
  return "device=" + c10::DeviceTypeName(device.type(), /*lower_case=*/true) +
         " root=" + std::to_string(options.root) +
         " read=" + std::to_string(static_cast<int>(options.read)) +
         " bucket_bytes=" + describe_bytes(options.bucket_bytes) +
         " strict=" + std::to_string(options.strict) + " verify=" + std::to_string(options.verify) +
         " dtype=" + (options.dtype ? c10::toString(*options.dtype) : "unchanged") +
         " dtype_rules=" + describe(options.dtype_rules);
}

void check_trainable_dtype(at::ScalarType dtype, const std::string& subject) {
  if (at::isFloatingType(dtype)) return;
  throw_error({ErrorCode::kConfig, -1, "", subject,
               std::string(c10::toString(dtype)) + " is not a floating-point dtype",
               "give a dtype in which parameters can be trained, or leave it out"});
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

void check_reader(const MetaOptions& options, at::Device device) {
  if (options.read != TeacherRead::kEveryRank || device.is_cpu()) return;
  throw_error({ErrorCode::kConfig, -1, "", "option read",
               "every rank can read for itself only if the fake score is on CPUs; this one is on " +
                   device.str(),
               "use TeacherRead::kRoot or kAuto (--read root or auto)"});
}

void check_meta_options(int world_size, const MetaOptions& options) {
  check_options(world_size, options.root, options.bucket_bytes);
  check_pinned_bytes(options.pinned_bytes);
  if (options.dtype) check_trainable_dtype(*options.dtype, "option dtype");
  for (const DtypeRule& rule : options.dtype_rules) {
    check_trainable_dtype(rule.dtype, "dtype rule \"" + rule.pattern + "\"");
  }
  if (options.timeout && options.timeout->count() <= 0) {
    throw_error({ErrorCode::kConfig, -1, "", "option timeout",
                 std::to_string(options.timeout->count()) +
                     " ms is not a valid timeout: it must be more than 0",
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
    check_meta_options(communicator_.world_size(), options_);
    check_reader(options_, device_);
    data_plane_.emplace(communicator_, device_);
    report_.backend = data_plane_->communicator().backend();
    MetaStructure structure = build_structure(build_, options_);
    module_ = std::move(structure.module);
    tape_ = std::move(structure.tape);
    tensors_ = std::move(structure.tensors);
    manifest_ = std::move(structure.manifest);
    occupied_ = std::move(structure.occupied);
  });
}

void MetaJob::agree_on_structure() {
  agree_on_value(communicator_, "agree", "options", describe(options_, device_));
  agree_on_manifest(communicator_, manifest_, options_.root);
}

void MetaJob::plan() {
  ReadAgreement agreement(communicator_, options_, device_);
  run_agreed(communicator_, "plan", ErrorCode::kTeacher, [&] {
    if (is_root()) plan_on_root();
    agreement.try_open(source_, teacher_);
  });
  const ReadDecision decision = agreement.decide(source_, teacher_);
  report_.read = decision.read;
  report_.read_reason = decision.reason;
  if (communicator_.world_size() == 1) return;
  const std::string bytes =
      communicator_.broadcast_message(is_root() ? plan_.serialize() : "", options_.root, "plan");
  if (!is_root()) plan_ = LoadPlan::deserialize(bytes);
}

void MetaJob::plan_on_root() {
  teacher_ = source_.open();
  plan_ = make_load_plan(manifest_, teacher_->tensors(), source_.description(), options_.strict);
  plan_.choice = teacher_->choice();
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
                         " in the module, but the teacher has different values for the two",
                     "build a module that does not tie them, or correct the teacher"});
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

void MetaJob::replay() {
  run_agreed(communicator_, "replay", ErrorCode::kBuild, [this] {
    if (is_root()) replay_on_root();
  });
  broadcast(make_transfers(/*replayed=*/true), "replay");
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

void MetaJob::verify() {
  std::vector<ModuleTensor> values;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    values.push_back({tensors_[i].name, placement_->tensor(i), tensors_[i].kind});
  }
  report_.digest = verify_across_ranks(communicator_, values, options_.root);
}

void MetaJob::finish() {
  run_agreed(communicator_, "finish", ErrorCode::kInternal, [this] { fill_module(); });
  report_.choice = std::move(plan_.choice);
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
