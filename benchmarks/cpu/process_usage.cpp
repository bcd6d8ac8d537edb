#include "process_usage.hpp"

#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace fakescore::benchmark {
namespace {

constexpr uint64_t kKibibyte = 1024;
constexpr int64_t kBlockBytes = 512;

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

/// The sum of the lines "KEY: N kB" of a file of /proc.
uint64_t kibibytes(const char* path, std::initializer_list<const char*> keys) {
  std::ifstream file(path);
  uint64_t sum = 0;
  size_t found = 0;
  std::string line;
  while (std::getline(file, line)) {
    for (const std::string key : keys) {
      if (line.rfind(key + ':', 0) != 0) continue;
      sum += std::stoull(line.substr(key.size() + 1));
      ++found;
    }
  }
  if (found != keys.size()) throw std::runtime_error(std::string(path) + " lacks a line");
  return sum;
}

}  // namespace

Usage usage() {
  rusage raw{};
  ::getrusage(RUSAGE_SELF, &raw);
  return {seconds_of(raw.ru_utime) + seconds_of(raw.ru_stime), raw.ru_minflt,
          raw.ru_inblock * kBlockBytes};
}

uint64_t anonymous_bytes() {
  return kibibytes("/proc/self/smaps_rollup", {"Pss_Anon", "Pss_Shmem"}) * kKibibyte;
}

uint64_t free_bytes() { return kibibytes("/proc/meminfo", {"MemFree"}) * kKibibyte; }

uint64_t resident_peak() { return kibibytes("/proc/self/status", {"VmHWM"}) * kKibibyte; }

void reset_resident_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

AnonymousPeak::AnonymousPeak() : most_(anonymous_bytes()) {
  thread_ = std::thread([this] {
    while (!stop_) {
      const uint64_t now = anonymous_bytes();
      if (now > most_) most_ = now;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
}

AnonymousPeak::~AnonymousPeak() {
  stop_ = true;
  thread_.join();
}

}  // namespace fakescore::benchmark
