#pragma once

#include <chrono>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "fakescore/fill/fill_report.hpp"

namespace fakescore::detail {

/// Times the phases of a call.
class PhaseClock {
 public:
  /// Runs `phase` and returns what it returns.
  template <typename Phase>
  auto run(const std::string& name, Phase phase) -> decltype(phase()) {
    const Running running(phases_, name);
    return phase();
  }

  /// The same for a phase that returns the bytes that it moved.
  template <typename Phase>
  void run_move(const std::string& name, Phase phase) {
    const uint64_t bytes = run(name, std::move(phase));
    phases_.back().bytes = bytes;
  }

  std::vector<PhaseReport> phases() && { return std::move(phases_); }

 private:
  using Clock = std::chrono::steady_clock;

  class Running {
   public:
    Running(std::vector<PhaseReport>& phases, const std::string& name) : phases_(phases) {
      phases_.push_back({name, 0, 0});
    }
    ~Running() {
      phases_.back().seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

   private:
    std::vector<PhaseReport>& phases_;
    Clock::time_point begin_ = Clock::now();
  };

  std::vector<PhaseReport> phases_;
};

}  // namespace fakescore::detail
