#pragma once

#include <mpi.h>

#include <string>

#include "fakescore/error.hpp"

namespace fakescore::detail {

/// Throws CommError with MPI's own text where a call failed. MPI_ERRORS_RETURN reports wrong
/// arguments and truncated messages this way, never a lost rank.
inline void check_mpi(int code, const std::string& what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw CommError({ErrorCode::kPeerLost, -1, "", what, std::string("MPI says: ").append(text),
                   "check that every rank makes the same calls with the same sizes"});
}

}  // namespace fakescore::detail
