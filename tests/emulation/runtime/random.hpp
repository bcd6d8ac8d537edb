#pragma once

#include <cstdint>

namespace fakescore::emulation {

/// One step of SplitMix64: seeds that differ in one bit give sequences that have nothing in common.
inline uint64_t scramble(uint64_t value) {
  value += 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

inline uint64_t mix(uint64_t seed, uint64_t number) { return scramble(scramble(seed) ^ number); }

/// How long one operation waits before it starts: half of them not at all, the others up to four
/// times the setting. Streams must drift apart; a delay that is the same for all hides races.
class Delays {
 public:
  Delays(uint64_t seed, uint64_t delay_us) : state_(seed), delay_us_(delay_us) {}

  uint64_t next_us() {
    state_ = scramble(state_);
    if (delay_us_ == 0 || (state_ & 1) == 0) return 0;
    return (state_ >> 8) % (4 * delay_us_);
  }

 private:
  uint64_t state_;
  uint64_t delay_us_;
};

}  // namespace fakescore::emulation
