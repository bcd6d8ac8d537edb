#pragma once

#include <string>

namespace fakescore::emulation {

/// Says on standard error what the emulated program did wrong.
void complain(const std::string& text);

/// Ends the process: what the program asks for cannot be emulated, and going on would lie.
[[noreturn]] void fatal(const std::string& text);

[[noreturn]] void not_emulated(const char* symbol);

}  // namespace fakescore::emulation
