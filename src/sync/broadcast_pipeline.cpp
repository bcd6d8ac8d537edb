#include "sync/broadcast_pipeline.hpp"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "fakescore/sync/run_agreed.hpp"
#include "sync/device_pipeline.hpp"
#include "sync/first_failure.hpp"
#include "sync/populate.hpp"
#include "sync/transfer_sources.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kPopulateAtLeast = 4096;

class Pipeline {
 public:
  Pipeline(Communicator& communicator, const std::vector<Transfer>& transfers,
           const PipelineOptions& options)
      : communicator_(communicator),
        transfers_(transfers),
        options_(options),
        is_root_(communicator.rank() == options.root),
        buckets_(plan_buckets(layouts_of(transfers), options.bucket_bytes)),
        sources_(transfers, buckets_),
        failure_(communicator.rank(), options.phase) {}

  /// Makes the memory for packed buckets, before anything is in flight.
  void allocate() {
    const size_t largest = largest_packed_bytes(buckets_);
    for (at::Tensor& scratch : scratch_) {
      scratch = at::empty({static_cast<int64_t>(largest)}, at::kByte);
    }
  }

  PipelineResult run() {
    for (const Bucket& bucket : buckets_) total_bytes_ += bucket.bytes;
    for (size_t i = 0; i < buckets_.size() + kBucketsInFlight; ++i) {
      if (i >= kBucketsInFlight) finish(i - kBucketsInFlight);
      if (i < buckets_.size()) start(i);
    }
    return {bytes_, failure_.info()};
  }

 private:
  void start(size_t index) {
    const Bucket& bucket = buckets_[index];
    for (const Piece& piece : bucket.pieces) ready_piece(piece);
    const std::string& name = transfers_[bucket.pieces.front().transfer].name;
    const at::Tensor buffer =
        bucket.in_place ? in_place_buffer(bucket.pieces.front()) : packed_buffer(index, bucket);
    if (is_root_ && !bucket.in_place) {
      failure_.guard(name, [&] { pack(bucket, buffer); });
    }
    flights_[index % kBucketsInFlight] = {
        communicator_.start_broadcast(buffer, options_.root, name), buffer};
    if (is_root_) {
      // The root's own copy is made while the bucket travels.
      for (const Piece& piece : bucket.pieces) {
        failure_.guard(name, [&] { fill_own(piece); });
      }
      sources_.drop_after(index);
    }
  }

  void ready_piece(const Piece& piece) {
    if (is_root_) {
      failure_.guard(transfers_[piece.transfer].name, [&] { sources_.open(piece.transfer); });
    }
    const bool is_written = !is_root_ || sources_.bytes(piece.transfer).defined();
    if (is_written && piece.stored_bytes >= kPopulateAtLeast) {
      populate_pages(stored(piece).mutable_data_ptr(), piece.stored_bytes);
    }
  }

  at::Tensor stored(const Piece& piece) const {
    return transfers_[piece.transfer].destination.narrow(
        0, static_cast<int64_t>(piece.stored_begin), static_cast<int64_t>(piece.stored_bytes));
  }

  at::Tensor source(const Piece& piece) const {
    const at::Tensor& bytes = sources_.bytes(piece.transfer);
    if (!bytes.defined()) return stored(piece);
    return bytes.narrow(0, static_cast<int64_t>(piece.wire_begin),
                        static_cast<int64_t>(piece.wire_bytes));
  }

  at::Tensor in_place_buffer(const Piece& piece) const {
    return is_root_ ? source(piece) : stored(piece);
  }

  at::Tensor packed_buffer(size_t index, const Bucket& bucket) {
    return scratch_[index % kBucketsInFlight].narrow(0, 0, static_cast<int64_t>(bucket.bytes));
  }

  void pack(const Bucket& bucket, const at::Tensor& buffer) const {
    auto* bytes = static_cast<std::byte*>(buffer.mutable_data_ptr());
    for (const Piece& piece : bucket.pieces) {
      std::memcpy(bytes + piece.bucket_offset, source(piece).const_data_ptr(), piece.wire_bytes);
    }
  }

  void fill_own(const Piece& piece) const {
    if (sources_.bytes(piece.transfer).defined()) land(piece, source(piece));
  }

  /// Puts wire bytes into the storage.
  void land(const Piece& piece, const at::Tensor& wire) const {
    const at::Tensor destination = stored(piece);
    const auto& cast = transfers_[piece.transfer].layout.cast;
    if (cast) {
      destination.view(cast->stored).copy_(wire.view(cast->wire));
    } else {
      std::memcpy(destination.mutable_data_ptr(), wire.const_data_ptr(), piece.wire_bytes);
    }
  }

  void finish(size_t index) {
    const Bucket& bucket = buckets_[index];
    Flight flight = std::move(flights_[index % kBucketsInFlight]);
    flight.broadcast->wait();
    if (!is_root_ && !bucket.in_place) {
      for (const Piece& piece : bucket.pieces) {
        failure_.guard(transfers_[piece.transfer].name, [&] {
          land(piece, flight.buffer.narrow(0, static_cast<int64_t>(piece.bucket_offset),
                                           static_cast<int64_t>(piece.wire_bytes)));
        });
      }
    }
    bytes_ += bucket.bytes;
    if (options_.progress) {
      failure_.guard("progress callback", [&] {
        options_.progress({options_.phase, bytes_, total_bytes_});
      });
    }
  }

  struct Flight {
    std::unique_ptr<PendingBroadcast> broadcast;
    at::Tensor buffer;
  };

  Communicator& communicator_;
  const std::vector<Transfer>& transfers_;
  const PipelineOptions& options_;
  bool is_root_;
  std::vector<Bucket> buckets_;
  TransferSources sources_;
  FirstFailure failure_;
  Flight flights_[kBucketsInFlight];
  at::Tensor scratch_[kBucketsInFlight];
  uint64_t total_bytes_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace

std::vector<TransferLayout> layouts_of(const std::vector<Transfer>& transfers) {
  std::vector<TransferLayout> layouts;
  layouts.reserve(transfers.size());
  for (const Transfer& transfer : transfers) layouts.push_back(transfer.layout);
  return layouts;
}

PipelineResult broadcast_transfers(Communicator& communicator,
                                   const std::vector<Transfer>& transfers,
                                   const PipelineOptions& options) {
  if (!transfers.empty() && !transfers.front().destination.is_cpu()) {
    return broadcast_to_device(communicator, transfers, options);
  }
  const at::NoGradGuard no_grad;
  std::unique_ptr<Pipeline> pipeline;
  run_agreed(communicator, options.phase, ErrorCode::kMemory, [&] {
    pipeline = std::make_unique<Pipeline>(communicator, transfers, options);
    pipeline->allocate();
  });
  return pipeline->run();
}

}  // namespace fakescore::detail
