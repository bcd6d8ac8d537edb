#include "runtime/fatal.hpp"

#include <unistd.h>

#include <cstdlib>

namespace fakescore::emulation {

void complain(const std::string& text) {
  // One write, so that the lines of several ranks do not mix.
  const std::string line = "fakescore emulation: " + text + "\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

void fatal(const std::string& text) {
  complain(text);
  std::abort();
}

void not_emulated(const char* symbol) { fatal(std::string(symbol) + " is not emulated"); }

}  // namespace fakescore::emulation

/// What the generated stubs call.
extern "C" [[noreturn]] void fakescore_emulation_stub(const char* symbol) {
  fakescore::emulation::not_emulated(symbol);
}
