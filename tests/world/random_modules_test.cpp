// Random modules from random checkpoints: every rank must have what the plainest way to make a fake
// score gives. support/property.hpp says how to repeat a case, or to run others.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <mutex>

#include "fakescore/core/error.hpp"
#include "fakescore/factory/fake_score_meta.hpp"
#include "support/expected_fake_score.hpp"
#include "support/plan_generators.hpp"
#include "support/property.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using namespace testing;

/// Numbers are meant modulo what there is.
struct JobPlan {
  ModulePlan module;
  CheckpointPlan checkpoint;
  std::optional<at::ScalarType> dtype;
  std::optional<size_t> bucket_bytes;
  size_t root = 0;
  bool strict = false;
  bool verify = false;
  uint64_t seed = 0;
};

std::ostream& operator<<(std::ostream& out, const JobPlan& plan) {
  out << '\n' << plan.module << plan.checkpoint << "  root " << plan.root << ", seed " << plan.seed;
  if (plan.dtype) out << ", dtype " << *plan.dtype;
  if (plan.bucket_bytes) out << ", buckets of " << *plan.bucket_bytes;
  return out << (plan.strict ? ", strict" : "") << (plan.verify ? ", verify" : "");
}

rc::Gen<JobPlan> job_plan() {
  using rc::gen::set;
  using Dtype = std::optional<at::ScalarType>;
  using Bytes = std::optional<size_t>;
  return rc::gen::build<JobPlan>(
      set(&JobPlan::module, module_plan()), set(&JobPlan::checkpoint, checkpoint_plan()),
      set(&JobPlan::dtype, one_of<Dtype>({std::nullopt, std::nullopt, std::nullopt, at::kBFloat16,
                                          at::kHalf, at::kFloat, at::kDouble})),
      set(&JobPlan::bucket_bytes, one_of<Bytes>({std::nullopt, 4096, 5000, 65536})),
      set(&JobPlan::root, below(4)), set(&JobPlan::strict, one_of<bool>({false, false, true})),
      set(&JobPlan::verify, one_of<bool>({false, true})),
      set(&JobPlan::seed, rc::gen::cast<uint64_t>(below(1000))));
}

/// The module as it would be elsewhere, trained for a while.
std::shared_ptr<torch::nn::Module> make_teacher(const JobPlan& plan) {
  MetaInitOptions init;
  init.seed = plan.seed + 1;
  const SeededEagerGuard seeds(init);
  return build_planned(plan.module);
}

MetaOptions options_for(const JobPlan& plan, const Communicator& communicator) {
  MetaOptions options;
  options.dtype = plan.dtype;
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

std::string difference(const MetaResult& got, const ExpectedFakeScore& want, bool cast) {
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
std::string run_job(const JobPlan& plan, const TeacherSource& source, const ExpectedFakeScore& want,
                    Communicator& communicator) {
  const bool refused = plan.strict && !(want.missing.empty() && want.unexpected.empty());
  const MetaOptions options = options_for(plan, communicator);
  try {
    const MetaResult got = create_fake_score_meta(
        [&] { return build_planned(plan.module); },
        communicator.rank() == options.root ? source : TeacherSource::path("/nonexistent"),
        communicator, options);
    return refused ? "a checkpoint of other keys was taken"
                   : difference(got, want, plan.dtype.has_value());
  } catch (const TeacherError& error) {
    const bool expected =
        std::string(error.what()).find("keys are not the module's") != std::string::npos;
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
  const ExpectedFakeScore want = expect_fake_score(plan.module, checkpoint, plan.dtype, plan.seed);
  std::mutex mutex;
  std::string outcome;
  run_on_every_rank([&](Communicator& communicator) {
    const std::string own = run_job(plan, source, want, communicator);
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
  expect_property(40, [] {
    const JobPlan plan = *job_plan();
    const std::string wrong = what_is_wrong(plan);
    if (!wrong.empty()) RC_FAIL(wrong);
  });
}

}  // namespace
}  // namespace fakescore
