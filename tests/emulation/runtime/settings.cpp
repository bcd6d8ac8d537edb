#include "runtime/settings.hpp"

#include <cstdlib>
#include <sstream>
#include <string>

#include "runtime/fatal.hpp"
#include "runtime/random.hpp"

namespace fakescore::emulation {
namespace {

uint64_t number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  char* end = nullptr;
  const uint64_t value = std::strtoull(text, &end, 10);
  if (*end != '\0') fatal(std::string(name) + "=" + text + " is not a number");
  return value;
}

/// Ranks of one job share their environment but for this; their delays must differ.
uint64_t rank_of_process() {
  for (const char* name : {"RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (std::getenv(name) != nullptr) return number(name, 0);
  }
  return 0;
}

/// As the driver reads it: the list ends at the first entry that is no device.
std::vector<int> visible_devices(int on_host) {
  std::vector<int> devices;
  const char* text = std::getenv("CUDA_VISIBLE_DEVICES");
  if (text == nullptr) {
    for (int device = 0; device < on_host; ++device) devices.push_back(device);
    return devices;
  }
  std::istringstream entries(text);
  for (std::string entry; std::getline(entries, entry, ',');) {
    char* end = nullptr;
    const long device = std::strtol(entry.c_str(), &end, 10);
    if (entry.empty() || *end != '\0' || device < 0 || device >= on_host) break;
    devices.push_back(static_cast<int>(device));
  }
  return devices;
}

Settings read_settings() {
  Settings settings;
  settings.devices = visible_devices(static_cast<int>(number("FAKESCORE_EMULATION_DEVICES", 1)));
  settings.memory_bytes = number("FAKESCORE_EMULATION_MEMORY_MB", 512) << 20;
  settings.seed = mix(number("FAKESCORE_EMULATION_SEED", 1), rank_of_process());
  settings.delay_us = number("FAKESCORE_EMULATION_DELAY_US", 100);
  return settings;
}

}  // namespace

const Settings& settings() {
  static const auto* const settings = new Settings(read_settings());
  return *settings;
}

}  // namespace fakescore::emulation
