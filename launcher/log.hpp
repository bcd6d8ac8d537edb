#pragma once

#include <string>

namespace fakescore::launcher {

/// The program's log lines, on standard error. In a library of its own: LibTorch brings headers of
/// another fmt than the one that spdlog is built with, and one file must not see both.
void log_info(const std::string& message);
void log_error(const std::string& message);
/// Writes out what is buffered.
void flush_log();

}  // namespace fakescore::launcher
