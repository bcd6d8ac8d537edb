#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>

namespace fakescore::testing {

/// Same dtype, shape and strides, and the same bits, element by element.
inline ::testing::AssertionResult bit_equal(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes() || a.strides() != b.strides()) {
    return ::testing::AssertionFailure()
           << a.scalar_type() << a.sizes() << a.strides() << " against " << b.scalar_type()
           << b.sizes() << b.strides();
  }
  const at::Tensor x = a.detach().contiguous();
  const at::Tensor y = b.detach().contiguous();
  if (x.nbytes() != 0 && std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) != 0) {
    return ::testing::AssertionFailure() << "values differ";
  }
  return ::testing::AssertionSuccess();
}

}  // namespace fakescore::testing
