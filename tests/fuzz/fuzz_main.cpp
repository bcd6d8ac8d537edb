// What libFuzzer calls. FAKESCORE_FUZZ_TARGET names the target; "dump" runs dump_files and nothing
// else.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fakescore/error.hpp"
#include "fuzz/dump.hpp"
#include "fuzz/fuzz_target.hpp"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace fakescore::fuzz {
namespace {

const FuzzTarget& chosen_target() {
  static const FuzzTarget& target = [&]() -> const FuzzTarget& {
    const char* name = std::getenv("FAKESCORE_FUZZ_TARGET");
    for (const FuzzTarget& each : fuzz_targets()) {
      if (name != nullptr && each.name == name) return each;
    }
    std::fprintf(stderr, "FAKESCORE_FUZZ_TARGET must be dump or one of:");
    for (const FuzzTarget& each : fuzz_targets()) {
      std::fprintf(stderr, " %.*s", static_cast<int>(each.name.size()), each.name.data());
    }
    std::fprintf(stderr, "\n");
    std::exit(2);
  }();
  return target;
}

std::string text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

std::string mutate_bytes(std::string bytes, size_t max) {
  const size_t size = std::min(bytes.size(), max);
  bytes.resize(max);
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), size, max));
  return bytes;
}

}  // namespace fakescore::fuzz

extern "C" const char* __asan_default_options() {
  // LibTorch is not instrumented: what it does to a vector of ours is no overflow.
  return "detect_container_overflow=0:allocator_may_return_null=1:detect_leaks=0";
}

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  const char* target = std::getenv("FAKESCORE_FUZZ_TARGET");
  if (target != nullptr && std::strcmp(target, "dump") == 0) {
    fakescore::fuzz::dump_files();
    std::exit(0);
  }
  fakescore::fuzz::chosen_target();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    fakescore::fuzz::chosen_target().read(fakescore::fuzz::text_of(data, size));
  } catch (const fakescore::TeacherError&) {
    // What every reader says of what it cannot read; anything else ends the process.
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  fakescore::fuzz::Random random(seed);
  const std::string changed = fakescore::fuzz::chosen_target().mutate(
      fakescore::fuzz::text_of(data, size), random, max_size);
  const size_t kept = std::min(changed.size(), max_size);
  std::memcpy(data, changed.data(), kept);
  return kept;
}
