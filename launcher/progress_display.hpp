#pragma once

#include <string>

#include "fakescore/module/sync_module_states.hpp"

namespace fakescore::launcher {

/// Shows progress on standard error: a bar that is redrawn on a terminal, a line each quarter
/// elsewhere.
class ProgressDisplay {
 public:
  ProgressDisplay();
  /// Ends a bar that is still open, so that what is printed next, an error, has its own line.
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;
  void show(const Progress& progress);

 private:
  void draw_bar(const Progress& progress, int percent);
  void end_bar();
  bool is_terminal_;
  bool bar_is_open_ = false;
  std::string phase_;
  int shown_percent_ = -1;
};

}  // namespace fakescore::launcher
