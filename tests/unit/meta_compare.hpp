#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/meta/meta_init.hpp"
#include "fakescore/tensor/named_tensor.hpp"
#include "meta/seeded_eager_guard.hpp"

namespace fakescore::testing {

constexpr uint64_t kSeed = 17;

/// Equal bit by bit, NaN included, and alike in all that a tensor is besides its values.
inline ::testing::AssertionResult identical(const at::Tensor& got, const at::Tensor& want) {
  if (got.device() != want.device()) return ::testing::AssertionFailure() << "device";
  if (got.dtype() != want.dtype()) return ::testing::AssertionFailure() << "dtype " << got.dtype();
  if (got.sizes() != want.sizes()) return ::testing::AssertionFailure() << "sizes " << got.sizes();
  if (got.strides() != want.strides()) {
    return ::testing::AssertionFailure() << "strides " << got.strides();
  }
  if (got.requires_grad() != want.requires_grad()) {
    return ::testing::AssertionFailure() << "requires_grad";
  }
  const at::Tensor a = got.detach().resolve_conj().contiguous();
  const at::Tensor b = want.detach().resolve_conj().contiguous();
  if (a.numel() != 0 && std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) != 0) {
    return ::testing::AssertionFailure() << "values " << a.flatten() << " for " << b.flatten();
  }
  return ::testing::AssertionSuccess();
}

inline MetaInitOptions options_for(RandomMode mode, uint64_t seed = kSeed) {
  MetaInitOptions options;
  options.random = mode;
  options.seed = seed;
  return options;
}

inline std::string mode_name(RandomMode mode) {
  return mode == RandomMode::kPerOp ? "PerOp" : "Sequential";
}

/// What `build` gives in plain eager construction, under the seeds of the mode.
template <class Build>
auto build_eagerly(const Build& build, RandomMode mode, uint64_t seed = kSeed) {
  torch::manual_seed(seed);
  const detail::SeededEagerGuard seeds(options_for(mode, seed));
  return build();
}

/// What `build` gives under a MetaInitGuard, and the tape.
template <class Build>
auto build_on_meta(const Build& build, RandomMode mode, uint64_t seed = kSeed) {
  torch::manual_seed(seed);
  MetaInitGuard guard(options_for(mode, seed));
  auto built = build();
  return std::make_pair(std::move(built), guard.tape());
}

using NamedTensors = std::vector<NamedTensor>;

inline NamedTensors named_tensors(const torch::nn::Module& module) {
  NamedTensors tensors;
  for (const auto& item : module.named_parameters()) tensors.push_back({item.key(), item.value()});
  for (const auto& item : module.named_buffers()) tensors.push_back({item.key(), item.value()});
  return tensors;
}

}  // namespace fakescore::testing
