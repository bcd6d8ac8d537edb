// Random modules: what a tape replays of them, in any order and in any pieces, is what eager
// construction gives.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "support/module_plan.hpp"
#include "support/plan_generators.hpp"
#include "support/property.hpp"
#include "unit/meta_compare.hpp"

namespace fakescore::testing {
namespace {

NamedTensors tensors_of_plan(const torch::nn::Module& module) {
  NamedTensors tensors = named_tensors(module);
  for (const at::Tensor& member : plain_members(module)) {
    tensors.push_back({"member " + std::to_string(tensors.size()), member});
  }
  return tensors;
}

/// Makes the tensors real, some at a time, in an order that `order` says.
void materialise(const NamedTensors& metas, InitTape& tape, std::vector<size_t> order) {
  for (size_t i = 0; i < metas.size(); ++i) order.push_back(i);
  for (size_t i = 0; i < order.size();) {
    std::vector<at::Tensor> wanted;
    for (const size_t end = i + 1 + order[i] % 3; i < std::min(end, order.size()); ++i) {
      wanted.push_back(metas[order[i] % metas.size()].tensor);
    }
    const auto reals = tape.replay(wanted);
    for (size_t k = 0; k < wanted.size(); ++k) {
      if (wanted[k].is_meta()) materialize_into(wanted[k], reals[k]);
    }
  }
}

TEST(RandomReplay, EqualsEagerInAnyOrder) {
  expect_property(200, [] {
    const ModulePlan plan = *module_plan();
    const auto order = *some(20, below(24));
    const uint64_t seed = *below(1000);
    RC_LOG() << plan;
    const auto build = [&] { return build_planned(plan); };
    const auto eager = build_eagerly(build, RandomMode::kPerOp, seed);
    const auto [module, tape] = build_on_meta(build, RandomMode::kPerOp, seed);
    const NamedTensors got = tensors_of_plan(*module);
    const NamedTensors want = tensors_of_plan(*eager);
    RC_ASSERT(got.size() == want.size());
    if (got.empty()) return;
    materialise(got, *tape, order);
    for (size_t i = 0; i < got.size(); ++i) {
      const auto same = identical(got[i].tensor, want[i].tensor);
      if (!same) RC_FAIL(got[i].name + ": " + same.message());
      for (size_t k = 0; k < i; ++k) {
        RC_ASSERT(got[i].tensor.is_alias_of(got[k].tensor) ==
                  want[i].tensor.is_alias_of(want[k].tensor));
      }
    }
  });
}

}  // namespace
}  // namespace fakescore::testing
