#pragma once

#include <string>

namespace fakescore::emulation {

/// The operator of LibTorch that the calling thread runs on the CPU; empty for none.
inline std::string& current_operator() {
  thread_local std::string name;
  return name;
}

}  // namespace fakescore::emulation
