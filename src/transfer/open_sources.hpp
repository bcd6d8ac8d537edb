#pragma once

#include <cstddef>
#include <vector>

#include "tensor/storage_bytes.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// The sources of a stream of buckets: each is opened right before its first byte leaves, and
/// dropped with its last, so that few are held at a time.
class OpenSources {
 public:
  OpenSources(const std::vector<Transfer>& transfers, const std::vector<Bucket>& buckets)
      : transfers_(transfers), buckets_(buckets), opened_(transfers.size()) {
    for (size_t i = 0; i < buckets.size(); ++i) {
      for (const Piece& piece : buckets[i].pieces) opened_[piece.transfer].last_bucket = i;
    }
  }

  /// Nothing where the transfer's source was opened before.
  void open(size_t transfer) {
    Opened& opened = opened_[transfer];
    if (opened.is_open) return;
    opened.is_open = true;
    const Source& source = transfers_[transfer].source;
    if (const auto* in_file = std::get_if<InFile>(&source)) {
      opened.wire = read_only_bytes(in_file->bytes->memory(), in_file->bytes);
    }
    if (const auto* on_host = std::get_if<InHostMemory>(&source)) opened.wire = on_host->open();
    if (const auto* on_device = std::get_if<OnDevice>(&source)) opened.wire = on_device->open();
    if (const auto* in_place = std::get_if<InDestination>(&source); in_place && in_place->fill) {
      in_place->fill();
    }
  }

  /// 1-D uint8, all wire bytes of an open transfer; null where its destination holds the values.
  const at::Tensor* wire(size_t transfer) const {
    const at::Tensor& wire = opened_[transfer].wire;
    return wire.defined() ? &wire : nullptr;
  }

  /// Bucket number `bucket` has left.
  void drop_after(size_t bucket) {
    for (const Piece& piece : buckets_[bucket].pieces) {
      Opened& opened = opened_[piece.transfer];
      if (opened.last_bucket == bucket) opened.wire.reset();
    }
  }

 private:
  struct Opened {
    at::Tensor wire;
    size_t last_bucket = 0;
    bool is_open = false;
  };

  const std::vector<Transfer>& transfers_;
  const std::vector<Bucket>& buckets_;
  std::vector<Opened> opened_;
};

}  // namespace fakescore::detail
