#pragma once

#include <string>

#include "fakescore/sync/sync_module_states.hpp"

namespace fakescore::launcher {

/// Shows progress on standard error: a bar that is redrawn on a terminal, a line each quarter
/// elsewhere.
class ProgressDisplay {
 public:
  ProgressDisplay();
  void show(const Progress& progress);

 private:
  void draw_bar(const Progress& progress, int percent) const;
  bool is_terminal_;
  std::string phase_;
  int shown_percent_ = -1;
};

}  // namespace fakescore::launcher
