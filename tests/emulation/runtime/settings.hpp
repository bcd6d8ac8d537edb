#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fakescore::emulation {

/// What the environment asks for; README.md lists the variables.
struct Settings {
  std::vector<int> devices;  ///< numbers of the devices on the host that this process sees
  size_t memory_bytes = 0;   ///< capacity of each
  uint64_t seed = 0;         ///< differs between the ranks of a job
  uint64_t delay_us = 0;
};

const Settings& settings();

}  // namespace fakescore::emulation
