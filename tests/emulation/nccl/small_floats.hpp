#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace fakescore::emulation {

/// Sixteen bits of storage, rounded to nearest even; arithmetic is done in float.
class Bfloat16 {
 public:
  explicit Bfloat16(float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const uint32_t round_to_even = 0x7FFF + (bits >> 16 & 1);
    bits_ =
        std::isnan(value) ? uint16_t{0x7FC0} : static_cast<uint16_t>((bits + round_to_even) >> 16);
  }
  explicit operator float() const { return std::bit_cast<float>(uint32_t{bits_} << 16); }

 private:
  uint16_t bits_;
};

class Float16 {
 public:
  explicit Float16(float value) : bits_(magnitude_bits(std::abs(value))) {
    if (std::signbit(value)) bits_ |= 0x8000;
  }

  explicit operator float() const {
    const int exponent = bits_ >> 10 & 31;
    const int fraction = bits_ & 1023;
    float magnitude = 0;
    if (exponent == 31) {
      magnitude = fraction == 0 ? INFINITY : NAN;
    } else if (exponent == 0) {
      magnitude = std::ldexp(static_cast<float>(fraction), -24);
    } else {
      magnitude = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    }
    return (bits_ & 0x8000) != 0 ? -magnitude : magnitude;
  }

 private:
  static uint16_t magnitude_bits(float magnitude) {
    constexpr float kRoundsToInfinity = 65520;
    constexpr int kSmallestExponent = -14;
    if (std::isnan(magnitude)) return 0x7E00;
    if (magnitude >= kRoundsToInfinity) return 0x7C00;
    const int exponent =
        magnitude == 0 ? kSmallestExponent : std::max(std::ilogb(magnitude), kSmallestExponent);
    // In units of the last place. A fraction that rounds up to 2048 carries into the exponent.
    const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
    return static_cast<uint16_t>(((exponent - kSmallestExponent) << 10) + units);
  }

  uint16_t bits_;
};

}  // namespace fakescore::emulation
