#include "progress_display.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

#include "format_bytes.hpp"

namespace fakescore::launcher {
namespace {

constexpr int kBarWidth = 40;
constexpr int kPlainStep = 25;

}  // namespace

ProgressDisplay::ProgressDisplay() : is_terminal_(::isatty(STDERR_FILENO) == 1) {}

void ProgressDisplay::show(const Progress& progress) {
  if (progress.phase != phase_) {
    phase_ = progress.phase;
    shown_percent_ = -1;
  }
  const int percent = progress.total_bytes == 0
                          ? 100
                          : static_cast<int>(progress.done_bytes * 100 / progress.total_bytes);
  const int step = is_terminal_ ? 1 : kPlainStep;
  if (shown_percent_ >= 0 && percent / step == shown_percent_ / step) return;
  shown_percent_ = percent;
  if (is_terminal_) {
    draw_bar(progress, percent);
  } else {
    fmt::print(stderr, "{}: {} of {} ({} %)\n", progress.phase, format_bytes(progress.done_bytes),
               format_bytes(progress.total_bytes), percent);
  }
}

void ProgressDisplay::draw_bar(const Progress& progress, int percent) const {
  const int filled = percent * kBarWidth / 100;
  fmt::print(stderr, "\r{:<7} [{:=<{}}{:<{}}] {:>3} %  {} of {} {}", progress.phase, "", filled, "",
             kBarWidth - filled, percent, format_bytes(progress.done_bytes),
             format_bytes(progress.total_bytes), percent == 100 ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace fakescore::launcher
