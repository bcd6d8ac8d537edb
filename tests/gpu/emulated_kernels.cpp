// What the library's own kernels compute, on the emulated tier: the same functor, run on the host
// once for each thread of the launch.
#include "emulation.hpp"
#include "tensor/cuda/digest_words.hpp"

namespace fakescore::testing {
namespace {

void add_digest_words(const emulation::LaunchShape& shape, const unsigned char* bytes,
                      uint64_t size, unsigned long long* sums) {  // NOLINT: CUDA's type
  const uint64_t threads = uint64_t{shape.grid[0]} * shape.block[0];
  const detail::DigestWords words{bytes, size};
  for (uint64_t thread = 0; thread < threads; ++thread) {
    const Digest sum = words(thread, threads);
    sums[0] += sum.low;
    sums[1] += sum.high;
  }
}

const bool registered = [] {
  if (auto* emulation = emulation::attached()) {
    emulation->register_kernel_by_name(
        "fakescore::detail::digest_kernel",
        emulation::kernel_body<const unsigned char*, uint64_t, unsigned long long*>(  // NOLINT
            add_digest_words));
  }
  return true;
}();

}  // namespace
}  // namespace fakescore::testing
