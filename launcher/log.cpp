#include "log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "error/printable.hpp"

namespace fakescore::launcher {
namespace {

/// https://no-color.org: any value but an empty one counts.
bool wants_no_color() {
  const char* value = std::getenv("NO_COLOR");
  return value != nullptr && *value != '\0';
}

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_color_mt(
        "fakescore", wants_no_color() ? spdlog::color_mode::never : spdlog::color_mode::automatic);
    made->set_pattern("%n: %^%l%$: %v");
    return made;
  }();
  return *instance;
}

}  // namespace

void log_info(const std::string& message) { logger().info("{}", detail::printable(message)); }
void log_error(const std::string& message) { logger().error("{}", detail::printable(message)); }
void flush_log() { logger().flush(); }

}  // namespace fakescore::launcher
