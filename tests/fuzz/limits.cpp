#include "fuzz/limits.hpp"

#include <sanitizer/allocator_interface.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>

namespace fakescore::fuzz {
namespace {

constexpr size_t kMemoryPerByte = 64;
/// What small files may take as well, what LibTorch's reader of archives always does included.
constexpr size_t kFreeMemory = size_t{2} << 20;
constexpr double kSecondsPerMebibyte = 20;  // 1 without sanitizers and coverage
constexpr double kFreeSeconds = 1;
constexpr double kMebibyte = 1 << 20;

// Set and read by the one thread that runs targets.
bool is_measuring = false;
int64_t live_bytes = 0;
int64_t peak_bytes = 0;

void on_malloc(const volatile void* /*memory*/, size_t bytes) {
  if (!is_measuring) return;
  live_bytes += static_cast<int64_t>(bytes);
  if (live_bytes > peak_bytes) peak_bytes = live_bytes;
}

void on_free(const volatile void* memory) {
  if (!is_measuring || memory == nullptr) return;
  live_bytes -=
      static_cast<int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(memory)));
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

Limits::Limits(std::string_view target, size_t input_bytes)
    : target_(target), input_bytes_(input_bytes), began_(thread_seconds()) {
  static const bool hooked = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0;
  if (!hooked) std::abort();
  live_bytes = 0;
  peak_bytes = 0;
  is_measuring = true;
}

Limits::~Limits() {
  is_measuring = false;
  const double seconds = thread_seconds() - began_;
  const auto peak = static_cast<size_t>(peak_bytes);
  const double most =
      kFreeSeconds + kSecondsPerMebibyte * static_cast<double>(input_bytes_) / kMebibyte;
  if (peak <= kFreeMemory + kMemoryPerByte * input_bytes_ && seconds <= most) return;
  std::fprintf(stderr, "FINDING %.*s: %zu bytes of input took %zu bytes of memory and %.2f s\n",
               static_cast<int>(target_.size()), target_.data(), input_bytes_, peak, seconds);
  std::abort();
}

void Limits::stop_memory() { is_measuring = false; }

}  // namespace fakescore::fuzz
