#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <memory>
#include <mutex>

#include "fakescore/module/module_tensors.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore::testing {

/// The same values for the same seed, on every rank and in every thread: ranks may be threads of
/// one process, which share the default generator.
template <typename Module>
std::shared_ptr<Module> make_seeded(int64_t seed) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  torch::manual_seed(static_cast<uint64_t>(seed));
  return std::make_shared<Module>();
}

/// Every tensor of `actual`, wherever it lies, has the bits of its counterpart, element by element.
inline void expect_values(const torch::nn::Module& expected, const torch::nn::Module& actual) {
  const auto want = module_tensors(expected);
  const auto got = module_tensors(actual);
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) {
    // A copy to the host does not keep the strides of a view.
    EXPECT_TRUE(bit_equal(want[i].tensor.cpu().contiguous(), got[i].tensor.cpu().contiguous()))
        << want[i].name;
  }
}

}  // namespace fakescore::testing
