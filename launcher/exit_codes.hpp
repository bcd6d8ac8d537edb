#pragma once

#include "fakescore/error.hpp"

namespace fakescore::launcher {

/// What the program returns; documented in docs/errors.md and `fakescore --help`.
enum ExitCode : int {
  kSuccess = 0,
  kInternalFailure = 1,
  kBadUsage = 2,
  kBadTeacher = 3,
  kRanksDiffer = 4,
  kLostPeer = 5,
  kBuildFailed = 6,
  kOutOfMemory = 7,
};

inline ExitCode exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kConfig:
      return kBadUsage;
    case ErrorCode::kTeacher:
      return kBadTeacher;
    case ErrorCode::kMismatch:
      return kRanksDiffer;
    case ErrorCode::kPeerLost:
      return kLostPeer;
    case ErrorCode::kBuild:
      return kBuildFailed;
    case ErrorCode::kMemory:
      return kOutOfMemory;
    case ErrorCode::kInternal:
      break;
  }
  return kInternalFailure;
}

}  // namespace fakescore::launcher
