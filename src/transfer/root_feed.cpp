#include "transfer/root_feed.hpp"

#include <ATen/record_function.h>
#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "tensor/storage_bytes.hpp"
#include "transfer/record_on.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kReaderThreads = 2;

}  // namespace

RootFeed::RootFeed(const std::vector<Transfer>& transfers, const std::vector<Bucket>& buckets,
                   size_t pinned_bytes, const c10::Stream& copy_stream)
    : transfers_(transfers), buckets_(buckets), copy_(copy_stream), sources_(transfers, buckets) {
  const bool reads_host_memory =
      std::any_of(transfers.begin(), transfers.end(),
                  [](const Transfer& transfer) { return is_on_host(transfer.source); });
  if (reads_host_memory) {
    reader_ = std::make_unique<PinnedReader>(pinned_bytes, kReaderThreads, copy_.device());
  }
}

bool RootFeed::comes_from_host(const Bucket& bucket) const {
  return std::any_of(bucket.pieces.begin(), bucket.pieces.end(),
                     [&](const Piece& piece) { return comes_from_host(piece); });
}

void RootFeed::read_ahead(size_t bucket) {
  const c10::StreamGuard on_copy_stream(copy_);
  for (const Piece& piece : buckets_[bucket].pieces) sources_.open(piece.transfer);
  if (!comes_from_host(buckets_[bucket])) return;
  const size_t bytes = buckets_[bucket].bytes;
  for (size_t begin = 0; begin < bytes; begin += reader_->slot_bytes()) {
    const Stretch stretch{bucket, begin, std::min(begin + reader_->slot_bytes(), bytes)};
    reader_->submit([reads = reads_within(stretch)](std::byte* slot) {
      for (const Read& read : reads) {
        RECORD_USER_SCOPE_WITH_INPUTS("fakescore::read", std::vector<c10::IValue>{read.source});
        std::memcpy(slot + read.offset, read.source.const_data_ptr(), read.source.nbytes());
      }
    });
    submitted_.push_back(stretch);
  }
}

std::vector<RootFeed::Read> RootFeed::reads_within(const Stretch& stretch) const {
  std::vector<Read> reads;
  for (const Piece& piece : buckets_[stretch.bucket].pieces) {
    const size_t from = std::max(stretch.begin, piece.bucket_offset);
    const size_t to = std::min(stretch.end, piece.bucket_offset + piece.wire_bytes);
    if (from >= to || !comes_from_host(piece)) continue;
    reads.push_back({part(*sources_.wire(piece.transfer),
                          piece.wire_begin + from - piece.bucket_offset, to - from),
                     from - stretch.begin});
  }
  return reads;
}

void RootFeed::load(size_t bucket, const at::Tensor& wire) {
  const c10::StreamGuard on_copy_stream(copy_);
  // The allocator must not hand the memory out again before the copies are done.
  wire.record_stream(copy_);
  while (!submitted_.empty() && submitted_.front().bucket == bucket) {
    const Stretch stretch = submitted_.front();
    submitted_.pop_front();
    copy_next_slot(part(wire, stretch.begin, stretch.end - stretch.begin));
  }
  copy_on_device(buckets_[bucket], wire);
}

void RootFeed::copy_next_slot(const at::Tensor& to) {
  try {
    to.copy_(part(reader_->take(), 0, to.nbytes()), /*non_blocking=*/true);
  } catch (...) {
    reader_->release(record_on(copy_));
    throw;
  }
  reader_->release(record_on(copy_));
}

void RootFeed::copy_on_device(const Bucket& bucket, const at::Tensor& wire) const {
  for (const Piece& piece : bucket.pieces) {
    if (comes_from_host(piece) || (bucket.in_place && is_in_destination(piece))) continue;
    const Transfer& transfer = transfers_[piece.transfer];
    const at::Tensor* source = sources_.wire(piece.transfer);
    const at::Tensor from =
        source != nullptr ? part(*source, piece.wire_begin, piece.wire_bytes)
                          : part(transfer.destination, piece.stored_begin, piece.stored_bytes);
    part(wire, piece.bucket_offset, piece.wire_bytes).copy_(from, /*non_blocking=*/true);
  }
}

}  // namespace fakescore::detail
