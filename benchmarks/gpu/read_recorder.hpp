#pragma once

#include <ATen/record_function.h>

#include <cstdint>
#include <vector>

namespace fakescore::benchmark {

/// One stretch of the teacher's file on its way to pinned memory. Times are nanoseconds of
/// CLOCK_MONOTONIC, as in the emulation's timeline.
struct FileRead {
  uint64_t thread = 0;
  uintptr_t address = 0;  ///< in the mapped file
  uint64_t bytes = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

/// While it lives, records what the library's reader threads read, which the library shows to
/// LibTorch's profiler as "fakescore::read". One at a time, made while no reader thread runs.
class ReadRecorder {
 public:
  ReadRecorder();
  ~ReadRecorder();
  ReadRecorder(const ReadRecorder&) = delete;
  ReadRecorder& operator=(const ReadRecorder&) = delete;

  std::vector<FileRead> reads() const;

 private:
  at::CallbackHandle callback_;
};

/// Bytes of the file that were read at least once.
uint64_t distinct_bytes(std::vector<FileRead> reads);

}  // namespace fakescore::benchmark
