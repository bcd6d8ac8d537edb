#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::testing {

/// The bytes of the elements in row-major order.
inline std::string hexadecimal(const at::Tensor& tensor) {
  const at::Tensor elements = tensor.contiguous();
  const auto* bytes = static_cast<const unsigned char*>(elements.const_data_ptr());
  std::string digits;
  for (size_t i = 0; i < elements.nbytes(); ++i) {
    constexpr const char* kDigits = "0123456789abcdef";
    digits += kDigits[bytes[i] / 16];
    digits += kDigits[bytes[i] % 16];
  }
  return digits;
}

/// What a teacher holds, as the test data's expected.json have it: name -> [dtype, shape, bytes].
inline nlohmann::json content_of(Teacher& teacher) {
  nlohmann::json content = nlohmann::json::object();
  for (size_t i = 0; i < teacher.tensors().size(); ++i) {
    const TeacherTensor& tensor = teacher.tensors()[i];
    const at::Tensor value = teacher.read(i);
    EXPECT_EQ(value.sizes().vec(), tensor.sizes) << tensor.name;
    EXPECT_EQ(value.scalar_type(), tensor.dtype) << tensor.name;
    content[tensor.name] = {c10::getDtypeNames(tensor.dtype).first, tensor.sizes,
                            hexadecimal(value)};
  }
  return content;
}

}  // namespace fakescore::testing
