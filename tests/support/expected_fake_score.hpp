#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "support/checkpoint_plan.hpp"
#include "support/module_plan.hpp"

namespace fakescore::testing {

/// What a fake score must be, by the plainest way to make it: eager construction, a cast, and a
/// copy of the checkpoint's values by name.
struct ExpectedFakeScore {
  std::shared_ptr<torch::nn::Module> module;
  std::set<std::string> missing;
  std::set<std::string> unexpected;
  std::set<std::string> cast;
};

/// Which dtype a floating tensor gets, by its name and the dtype that it was built with.
using DtypeOf = std::function<at::ScalarType(const std::string&, at::ScalarType)>;

/// `seed` is that of the module's own initialisation.
ExpectedFakeScore expect_fake_score(const ModulePlan& plan, const Checkpoint& checkpoint,
                                    const DtypeOf& dtype_of, uint64_t seed);

/// What differs between a fake score and the module that it must be; empty where nothing does.
/// `cast`: floating tensors were cast, which may have moved them to storages of other layouts.
std::string difference(const torch::nn::Module& got, const torch::nn::Module& want, bool cast);

}  // namespace fakescore::testing
