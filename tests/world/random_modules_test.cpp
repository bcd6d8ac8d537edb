// Random modules from random checkpoints: every rank must have what the plainest way to make a fake
// score gives. support/property.hpp says how to repeat a case, or to run others.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <mutex>

#include "fakescore/error.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "meta/seeded_eager_guard.hpp"
#include "support/expected_fake_score.hpp"
#include "support/plan_generators.hpp"
#include "support/property.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using namespace testing;

using DtypeRules = std::vector<std::pair<std::string, at::ScalarType>>;

/// Numbers are meant modulo what there is.
struct JobPlan {
  ModulePlan module;
  CheckpointPlan checkpoint;
  std::optional<at::ScalarType> dtype;
  DtypeRules rules;  ///< that may match nothing
  std::optional<size_t> bucket_bytes;
  size_t root = 0;
  TeacherRead read = TeacherRead::kAuto;  ///< where the checkpoint is in files
  bool strict = false;
  bool verify = false;
  uint64_t seed = 0;
};

std::ostream& operator<<(std::ostream& out, const JobPlan& plan) {
  out << '\n' << plan.module << plan.checkpoint << "  root " << plan.root << ", seed " << plan.seed;
  if (plan.dtype) out << ", dtype " << *plan.dtype;
  if (plan.bucket_bytes) out << ", buckets of " << *plan.bucket_bytes;
  for (const auto& [pattern, dtype] : plan.rules) out << ", " << pattern << '=' << dtype;
  out << ", read=" << to_string(plan.read);
  return out << (plan.strict ? ", strict" : "") << (plan.verify ? ", verify" : "");
}

/// Patterns that are plain text, which most modules' names hold and some do not.
rc::Gen<DtypeRules> dtype_rules() {
  const auto rule =
      rc::gen::pair(one_of<std::string>({"t", "i", "i", "weight", "ä"}),
                    one_of<at::ScalarType>({at::kBFloat16, at::kHalf, at::kFloat, at::kDouble}));
  return rc::gen::weightedOneOf<DtypeRules>({{1, rc::gen::just(DtypeRules())}, {1, some(2, rule)}});
}

rc::Gen<JobPlan> job_plan() {
  using rc::gen::set;
  using Dtype = std::optional<at::ScalarType>;
  using Bytes = std::optional<size_t>;
  return rc::gen::build<JobPlan>(
      set(&JobPlan::module, module_plan()), set(&JobPlan::checkpoint, checkpoint_plan()),
      set(&JobPlan::dtype, one_of<Dtype>({std::nullopt, std::nullopt, std::nullopt, at::kBFloat16,
                                          at::kHalf, at::kFloat, at::kDouble})),
      set(&JobPlan::rules, dtype_rules()),
      set(&JobPlan::bucket_bytes, one_of<Bytes>({std::nullopt, 4096, 5000, 65536})),
      set(&JobPlan::root, below(4)),
      set(&JobPlan::read, one_of<TeacherRead>({TeacherRead::kAuto, TeacherRead::kEveryRank,
                                               TeacherRead::kInTurns})),
      set(&JobPlan::strict, one_of<bool>({false, false, true})),
      set(&JobPlan::verify, one_of<bool>({false, true})),
      set(&JobPlan::seed, rc::gen::cast<uint64_t>(below(1000))));
}

/// The module as it would be elsewhere, trained for a while.
std::shared_ptr<torch::nn::Module> make_teacher(const JobPlan& plan) {
  MetaInitOptions init;
  init.seed = plan.seed + 1;
  const detail::SeededEagerGuard seeds(init);
  return build_planned(plan.module);
}

at::ScalarType dtype_of(const JobPlan& plan, const std::string& name, at::ScalarType built) {
  for (const auto& [text, dtype] : plan.rules) {
    if (name.find(text) != std::string::npos) return dtype;
  }
  return plan.dtype.value_or(built);
}

/// Whether each rule matches a name, and what shares a storage gets one dtype.
bool rules_can_work(const JobPlan& plan) {
  std::set<std::string> unmatched;
  for (const auto& [text, dtype] : plan.rules) unmatched.insert(text);
  std::map<const c10::StorageImpl*, at::ScalarType> dtype_of_storage;
  const auto module = make_teacher(plan);
  for (const NamedTensor& entry : module_tensors(*module)) {
    if (!at::isFloatingType(entry.tensor.scalar_type())) continue;
    std::erase_if(unmatched, [&](const std::string& text) {
      return entry.name.find(text) != std::string::npos;
    });
    const at::ScalarType dtype = dtype_of(plan, entry.name, entry.tensor.scalar_type());
    const auto* storage = entry.tensor.storage().unsafeGetStorageImpl();
    if (dtype_of_storage.try_emplace(storage, dtype).first->second != dtype) return false;
  }
  return unmatched.empty();
}

/// What all ranks are to find.
struct Case {
  TeacherSource source;
  TeacherRead read;
  bool rules_can_work;
  bool has_tensors;
  ExpectedFakeScore want;
};

MetaOptions options_for(const JobPlan& plan, const Case& job, const Communicator& communicator) {
  MetaOptions options;
  options.dtype = plan.dtype;
  for (const auto& [text, dtype] : plan.rules) options.dtype_rules.push_back({text, dtype});
  options.read = job.read;
  options.root = static_cast<int>(plan.root) % communicator.world_size();
  options.bucket_bytes = plan.bucket_bytes;
  options.strict = plan.strict;
  options.verify = plan.verify;
  options.init.seed = plan.seed;
  return options;
}

std::set<std::string> as_set(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

std::string difference(const MetaResult& got, const Case& job, bool cast) {
  const ExpectedFakeScore& want = job.want;
  const bool all_read = job.read != TeacherRead::kAuto && got.report.world_size > 1;
  if (got.report.read != (all_read ? job.read : TeacherRead::kRoot)) return "who reads";
  if (as_set(got.report.missing) != want.missing) {
    return "missing " + ::testing::PrintToString(got.report.missing) + " for " +
           ::testing::PrintToString(want.missing);
  }
  if (as_set(got.report.unexpected) != want.unexpected) return "unexpected";
  std::set<std::string> cast_keys;
  for (const CastKey& key : got.report.cast) cast_keys.insert(key.name);
  if (cast_keys != want.cast) return "cast keys";
  return testing::difference(*got.module, *want.module, cast);
}

/// What is wrong on this rank; empty where nothing is.
std::string run_job(const JobPlan& plan, const Case& job, Communicator& communicator) {
  const bool other_keys = !(job.want.missing.empty() && job.want.unexpected.empty());
  const bool refused = !job.has_tensors || (plan.strict && other_keys);
  const MetaOptions options = options_for(plan, job, communicator);
  const bool reads = job.read != TeacherRead::kAuto || communicator.rank() == options.root;
  try {
    const MetaResult got = create_fake_score_meta(
        [&] { return build_planned(plan.module); },
        reads ? job.source : TeacherSource::path("/nonexistent"), communicator, options);
    if (!job.rules_can_work) return "rules that cannot work were taken";
    return refused ? "a checkpoint of other keys was taken"
                   : difference(got, job, plan.dtype.has_value() || !plan.rules.empty());
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    const bool expected = text.find("shares storage") != std::string::npos ||
                          text.find("matches no floating-point") != std::string::npos;
    return !job.rules_can_work && expected ? "" : text;
  } catch (const TeacherError& error) {
    const char* reason = job.has_tensors ? "keys do not match the module's" : "holds no tensor";
    const bool expected = std::string(error.what()).find(reason) != std::string::npos;
    return refused && expected ? "" : error.what();
  } catch (const Error& error) {
    return error.what();
  }
}

/// The same on every rank, so that all go on to the same case.
std::string what_is_wrong(const JobPlan& plan) {
  const TempFolder folder;
  const Checkpoint checkpoint = make_checkpoint(plan.checkpoint, *make_teacher(plan));
  const TeacherSource source = store(plan.checkpoint, checkpoint, folder.path());
  // Where ranks are processes, each has files of its own, which are the same to it.
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    std::filesystem::last_write_time(entry.path(), std::filesystem::file_time_type());
  }
  const bool in_files = !std::filesystem::is_empty(folder.path());
  const auto dtypes = [&](const std::string& name, at::ScalarType built) {
    return dtype_of(plan, name, built);
  };
  const Case job{source, in_files ? plan.read : TeacherRead::kAuto, rules_can_work(plan),
                 !checkpoint.empty(),
                 expect_fake_score(plan.module, checkpoint, dtypes, plan.seed)};
  std::mutex mutex;
  std::string outcome;
  run_on_every_rank([&](Communicator& communicator) {
    const std::string own = run_job(plan, job, communicator);
    std::string all;
    for (const std::string& text : communicator.all_gather(own, "outcome of the case")) {
      if (!text.empty()) all += text + '\n';
    }
    const std::lock_guard<std::mutex> lock(mutex);
    outcome = all;
  });
  return outcome;
}

TEST(RandomModules, EqualThePlainReferenceOnEveryRank) {
  expect_property(60, [] {
    const JobPlan plan = *job_plan();
    const std::string wrong = what_is_wrong(plan);
    if (!wrong.empty()) RC_FAIL(wrong);
  });
}

}  // namespace
}  // namespace fakescore
