#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// What a look into the store finds of ranks that are at work.
struct WorkLook {
  int64_t signs = 0;           ///< how many there were so far, of all ranks
  int rank = -1;               ///< whose the last one is; -1 where there is none that is new
  int64_t times_together = 0;  ///< as BaseControl counts
  std::string what;
};

/// `seen` is how many signs were there at the last look.
WorkLook look_for_work(c10d::Store& store, const std::string& prefix, int64_t seen);

/// Writes `work` now and then until it is destroyed, but not while `waits`.
std::unique_ptr<OwnWork> write_work(c10::intrusive_ptr<c10d::Store> store,
                                    const std::string& prefix, const WorkLook& work,
                                    std::chrono::milliseconds timeout,
                                    std::shared_ptr<const std::atomic<bool>> waits);

}  // namespace fakescore::detail
