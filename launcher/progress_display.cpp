#include "progress_display.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "format_bytes.hpp"
#include "print.hpp"

namespace fakescore::launcher {
namespace {

constexpr int kBarWidth = 40;
constexpr int kPlainStep = 25;

bool can_redraw() {
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::string(terminal) != "dumb";
}

}  // namespace

ProgressDisplay::ProgressDisplay() : is_terminal_(can_redraw()) {}

ProgressDisplay::~ProgressDisplay() { end_bar(); }

void ProgressDisplay::show(const Progress& progress) {
  if (progress.phase != phase_) {
    end_bar();
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
    print(stderr, "{}: {} of {} ({} %)\n", progress.phase, format_bytes(progress.done_bytes),
          format_bytes(progress.total_bytes), percent);
  }
}

void ProgressDisplay::draw_bar(const Progress& progress, int percent) {
  // Its last characters clear the rest of the line.
  const int filled = percent * kBarWidth / 100;
  print(stderr, "\r{:<7} [{:=<{}}{:<{}}] {:>3} %  {} of {}\033[K", progress.phase, "", filled, "",
        kBarWidth - filled, percent, format_bytes(progress.done_bytes),
        format_bytes(progress.total_bytes));
  std::fflush(stderr);
  bar_is_open_ = true;
  if (percent == 100) end_bar();
}

void ProgressDisplay::end_bar() {
  if (bar_is_open_) std::fputc('\n', stderr);
  bar_is_open_ = false;
}

}  // namespace fakescore::launcher
