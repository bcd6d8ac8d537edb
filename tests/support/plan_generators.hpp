#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "support/checkpoint_plan.hpp"
#include "support/module_plan.hpp"

// What rapidcheck makes plans with. All shrink towards a module without tensors: fewer, smaller,
// more ordinary ones.
namespace fakescore::testing {

/// From the whole range from the first case on; rapidcheck's own begins narrow.
inline rc::Gen<size_t> below(size_t end) {
  return rc::gen::resize(rc::kNominalSize, rc::gen::inRange<size_t>(0, end));
}

/// One of the values; a value listed twice comes twice as often. Shrinks towards the first.
template <class T>
rc::Gen<T> one_of(std::vector<T> values) {
  return rc::gen::map(below(values.size()), [values](size_t index) { return values[index]; });
}

/// Some of them, at most `most`.
template <class T>
rc::Gen<std::vector<T>> some(int most, rc::Gen<T> each) {
  return rc::gen::resize(most, rc::gen::container<std::vector<T>>(std::move(each)));
}

/// Now and then longer than a bucket, never more than a few of them.
inline rc::Gen<std::vector<int64_t>> tensor_sizes() {
  const auto dimension = one_of<int64_t>({1, 2, 3, 4, 5, 7, 2, 3, 4, 5, 7, 0, 33, 1500});
  return rc::gen::map(some(4, dimension), [](std::vector<int64_t> sizes) {
    int64_t elements = 1;
    for (int64_t& size : sizes) {
      if (elements * size > 20'000) size = 2;
      elements *= std::max<int64_t>(size, 1);
    }
    return sizes;
  });
}

inline rc::Gen<TensorPlan> tensor_plan() {
  using rc::gen::set;
  return rc::gen::build<TensorPlan>(
      set(&TensorPlan::node, below(24)),
      set(&TensorPlan::role,
          one_of<Role>({Role::kParameter, Role::kParameter, Role::kParameter, Role::kBuffer,
                        Role::kBuffer, Role::kFrozen, Role::kNonPersistent, Role::kMember})),
      set(&TensorPlan::origin,
          one_of<Origin>({Origin::kOwn, Origin::kOwn, Origin::kOwn, Origin::kOwn, Origin::kTied,
                          Origin::kView, Origin::kView, Origin::kGiven})),
      set(&TensorPlan::earlier, below(24)),
      set(&TensorPlan::dtype,
          one_of<at::ScalarType>({at::kFloat, at::kFloat, at::kFloat, at::kHalf, at::kBFloat16,
                                  at::kDouble, at::kLong, at::kInt, at::kByte, at::kBool,
                                  at::kComplexFloat, at::kComplexDouble})),
      set(&TensorPlan::sizes, tensor_sizes()),
      set(&TensorPlan::layout,
          one_of<Layout>({Layout::kPlain, Layout::kPlain, Layout::kPlain, Layout::kTransposed,
                          Layout::kChannelsLast, Layout::kGaps, Layout::kExpanded,
                          Layout::kConjugate})),
      set(&TensorPlan::fill, below(64)));
}

inline rc::Gen<ModulePlan> module_plan() {
  using rc::gen::set;
  const auto node = rc::gen::build<NodePlan>(
      set(&NodePlan::parent, below(6)),
      set(&NodePlan::second_parent, one_of<size_t>({0, 0, 0, 0, 1, 2, 3, 4})),
      set(&NodePlan::late, one_of<bool>({false, false, true})));
  return rc::gen::build<ModulePlan>(set(&ModulePlan::nodes, some(5, node)),
                                    set(&ModulePlan::tensors, some(14, tensor_plan())),
                                    set(&ModulePlan::writes, some(2, below(24))));
}

inline rc::Gen<CheckpointPlan> checkpoint_plan() {
  using rc::gen::set;
  const auto dtype = one_of<at::ScalarType>({at::kFloat, at::kBFloat16, at::kHalf, at::kDouble});
  return rc::gen::build<CheckpointPlan>(
      set(&CheckpointPlan::form,
          one_of<CheckpointForm>(
              {CheckpointForm::kMemory, CheckpointForm::kFile, CheckpointForm::kShards})),
      set(&CheckpointPlan::tied,
          one_of<TiedNames>({TiedNames::kAll, TiedNames::kFirst, TiedNames::kLast})),
      set(&CheckpointPlan::dropped, some(3, below(24))),
      set(&CheckpointPlan::extra, one_of<size_t>({0, 0, 0, 1, 2})),
      set(&CheckpointPlan::non_persistent, one_of<bool>({false, false, false, true})),
      set(&CheckpointPlan::stored, some(3, rc::gen::pair(below(24), dtype))),
      set(&CheckpointPlan::contiguous, one_of<bool>({true, false})));
}

}  // namespace fakescore::testing
