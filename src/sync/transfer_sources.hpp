#pragma once

#include <cstddef>
#include <vector>

#include "sync/broadcast_pipeline.hpp"

namespace fakescore::detail {

/// The root's wire bytes: each source is opened right before its first byte leaves, and dropped
/// with its last, so that few are held at a time.
class TransferSources {
 public:
  TransferSources(const std::vector<Transfer>& transfers, const std::vector<Bucket>& buckets)
      : transfers_(transfers), buckets_(buckets), sources_(transfers.size()) {
    for (size_t i = 0; i < buckets.size(); ++i) {
      for (const Piece& piece : buckets[i].pieces) sources_[piece.transfer].last_bucket = i;
    }
  }

  /// Nothing where the transfer's source was opened before.
  void open(size_t transfer) {
    Source& source = sources_[transfer];
    if (source.opened) return;
    source.opened = true;
    if (transfers_[transfer].open_source) source.bytes = transfers_[transfer].open_source();
  }

  /// 1-D uint8, all wire bytes of a transfer; undefined where its destination holds the values.
  const at::Tensor& bytes(size_t transfer) const { return sources_[transfer].bytes; }

  /// Bucket number `bucket` has left.
  void drop_after(size_t bucket) {
    for (const Piece& piece : buckets_[bucket].pieces) {
      Source& source = sources_[piece.transfer];
      if (source.last_bucket == bucket) source.bytes.reset();
    }
  }

 private:
  struct Source {
    at::Tensor bytes;
    size_t last_bucket = 0;
    bool opened = false;
  };

  const std::vector<Transfer>& transfers_;
  const std::vector<Bucket>& buckets_;
  std::vector<Source> sources_;
};

}  // namespace fakescore::detail
