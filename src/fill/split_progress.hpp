#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "fill/fill_context.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Tells the caller of transfers that are made in several steps as if it were one.
class SplitProgress {
 public:
  SplitProgress(const FillContext& context, const std::string& phase,
                const std::vector<Transfer>& transfers)
      : options_(context.transfer_options(phase)) {
    for (const Transfer& transfer : transfers) total_ += wire_bytes(transfer.layout);
    if (const ProgressCallback tell = options_.progress) {
      options_.progress = [this, tell](const Progress& progress) {
        // Steps count the gaps in their buckets as well.
        tell({progress.phase, std::min(done_ + progress.done_bytes, total_), total_});
      };
    }
  }
  SplitProgress(const SplitProgress&) = delete;
  SplitProgress& operator=(const SplitProgress&) = delete;

  /// For every step.
  const TransferOptions& options() const noexcept { return options_; }
  /// A step has ended.
  void add(uint64_t bytes) noexcept { done_ += bytes; }
  uint64_t done() const noexcept { return done_; }

 private:
  TransferOptions options_;
  uint64_t total_ = 0;
  uint64_t done_ = 0;
};

}  // namespace fakescore::detail
