#pragma once

#include <cstddef>

namespace fakescore::benchmark {

/// Of this rank, from all ranks being there to all ranks being done.
struct Cost {
  double seconds = 0;
  double cpu_seconds = 0;
};

// Over pages that no process has touched before. All are collective over MPI_COMM_WORLD, which
// must be initialised, and throw std::runtime_error where the bytes are not what was sent.

/// One MPI_Bcast of `bytes` of the first rank's memory to every other rank's.
Cost broadcast_limit(size_t bytes);

/// Every rank at once copies `bytes` from memory of its own, at most 256 MiB of it again and again:
/// larger than caches, and small enough for the ranks to have room for a model each.
Cost copy_limit(size_t bytes);

/// The same, but the pages of each MiB are made at once before it is copied to.
Cost populated_copy_limit(size_t bytes);

}  // namespace fakescore::benchmark
