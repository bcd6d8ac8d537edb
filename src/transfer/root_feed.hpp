#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "transfer/open_sources.hpp"
#include "transfer/pinned_reader.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Brings the root's wire bytes to its GPU: what lies in host memory by way of pinned memory, which
/// reader threads fill ahead of the copies; what lies on the GPU straight.
class RootFeed {
 public:
  /// Makes the pinned memory where a source lies in host memory. Copies run on `copy_stream`.
  RootFeed(const std::vector<Transfer>& transfers, const std::vector<Bucket>& buckets,
           size_t pinned_bytes, const c10::Stream& copy_stream);

  /// Opens the sources of a bucket, and gives the reader threads what lies in host memory. Buckets
  /// are given, and later loaded, in their order.
  void read_ahead(size_t bucket);
  /// Brings a bucket's wire bytes to `wire`, on the GPU.
  void load(size_t bucket, const at::Tensor& wire);
  /// Bucket number `bucket` has left.
  void drop_after(size_t bucket) { sources_.drop_after(bucket); }

  /// Whether the root's destination holds the values itself.
  bool is_in_destination(const Piece& piece) const {
    return std::holds_alternative<InDestination>(transfers_[piece.transfer].source);
  }

 private:
  /// What of a bucket's wire bytes one slot of pinned memory takes.
  struct Stretch {
    size_t bucket;
    size_t begin;
    size_t end;
  };
  /// Bytes of one source within a slot.
  struct Read {
    at::Tensor source;
    size_t offset;  ///< into the slot
  };

  bool comes_from_host(const Piece& piece) const {
    return is_on_host(transfers_[piece.transfer].source);
  }
  bool comes_from_host(const Bucket& bucket) const;
  std::vector<Read> reads_within(const Stretch& stretch) const;
  void copy_next_slot(const at::Tensor& to);
  void copy_on_device(const Bucket& bucket, const at::Tensor& wire) const;

  const std::vector<Transfer>& transfers_;
  const std::vector<Bucket>& buckets_;
  c10::Stream copy_;
  OpenSources sources_;
  std::unique_ptr<PinnedReader> reader_;
  std::deque<Stretch> submitted_;  ///< given to the reader threads and not copied yet
};

}  // namespace fakescore::detail
