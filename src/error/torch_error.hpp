#pragma once

#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>
#include <string>

namespace fakescore::detail {

/// What an exception says, on one line; LibTorch's without their stack and advice on debugging
/// CUDA.
inline std::string describe(const std::exception& error) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  std::string text = of_torch != nullptr ? of_torch->what_without_backtrace() : error.what();
  if (dynamic_cast<const c10::AcceleratorError*>(&error)) text = text.substr(0, text.find('\n'));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace fakescore::detail
