#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fakescore::fuzz {

/// Measures what is promised of every file while a target reads one: at most 64 bytes of memory a
/// byte, and 1 s a MiB, beside a constant. Ends the process, for libFuzzer to keep the input, where
/// more is used. Time is the thread's own, and has room for what the sanitizers and the coverage
/// cost: it is there for what grows with the square of the input.
class Limits {
 public:
  Limits(std::string_view target, size_t input_bytes);
  ~Limits();
  Limits(const Limits&) = delete;
  Limits& operator=(const Limits&) = delete;

  /// What is allocated from now on is not measured: tensors, which the promise leaves out.
  static void stop_memory();

 private:
  std::string_view target_;
  size_t input_bytes_;
  double began_;
};

}  // namespace fakescore::fuzz
