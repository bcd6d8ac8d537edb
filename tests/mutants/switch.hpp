// Included before every unit that holds mutants: says which of them is on.
#pragma once

#include <cstdlib>
#include <fstream>
#include <string>

namespace fakescore_mutants {

/// FAKESCORE_MUTANT names the mutant; that it was reached is told by the file of the other
/// variable.
inline bool is_on(const char* name) {
  const char* chosen = std::getenv("FAKESCORE_MUTANT");
  if (chosen == nullptr || std::string(chosen) != name) return false;
  if (const char* reached = std::getenv("FAKESCORE_MUTANT_REACHED")) {
    std::ofstream(reached, std::ios::app) << name << '\n';
  }
  return true;
}

/// run_agreed, or each rank by itself. A template, since nothing of the project is known here.
template <class Communicator, class Phase, class Code, class Step>
void run_agreed_unless(bool is_alone, Communicator& communicator, const Phase& phase, Code code,
                       const Step& step) {
  if (is_alone) {
    step();
  } else {
    run_agreed(communicator, phase, code, step);
  }
}

}  // namespace fakescore_mutants

#define FAKESCORE_MUTANT(name)                               \
  ([] {                                                      \
    static const bool on = ::fakescore_mutants::is_on(name); \
    return on;                                               \
  }())
