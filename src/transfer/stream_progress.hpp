#pragma once

#include <cstdint>
#include <vector>

#include "transfer/first_failure.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Counts what a stream of buckets has moved, and tells the caller.
class StreamProgress {
 public:
  StreamProgress(const std::vector<Bucket>& buckets, const TransferOptions& options,
                 FirstFailure& failure)
      : options_(options), failure_(failure) {
    for (const Bucket& bucket : buckets) total_bytes_ += bucket.bytes;
  }

  void add(uint64_t bytes) {
    bytes_ += bytes;
    if (!options_.progress) return;
    failure_.guard("progress callback", [&] {
      options_.progress({options_.phase, bytes_, total_bytes_});
    });
  }

  uint64_t bytes() const noexcept { return bytes_; }

 private:
  const TransferOptions& options_;
  FirstFailure& failure_;
  uint64_t total_bytes_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace fakescore::detail
