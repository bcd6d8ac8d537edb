#include "sync/broadcast_pipeline.hpp"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include <cstring>
#include <memory>

#include "fakescore/comm/run_agreed.hpp"
#include "sync/device_pipeline.hpp"
#include "sync/first_failure.hpp"
#include "sync/populate.hpp"
#include "sync/transfer_sources.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kPopulateAtLeast = size_t{64} << 10;  // below, a system call is not worth it

class Pipeline {
 public:
  Pipeline(Communicator& communicator, const std::vector<Transfer>& transfers,
           const PipelineOptions& options)
      : communicator_(communicator),
        transfers_(transfers),
        options_(options),
        is_root_(communicator.rank() == options.root),
        is_alone_(communicator.world_size() == 1),
        buckets_(plan_buckets(layouts_of(transfers), options.bucket_bytes)),
        sources_(transfers, buckets_),
        failure_(communicator.rank(), options.phase) {}

  /// Makes the memory for packed buckets, before anything is in flight.
  void allocate() {
    if (is_alone_) return;
    const size_t largest = largest_packed_bytes(buckets_);
    for (at::Tensor& scratch : scratch_) {
      scratch = at::empty({static_cast<int64_t>(largest)}, at::kByte);
    }
  }

  PipelineResult run() {
    // The root may wait for its disk for long.
    const auto work = communicator_.begin_work(options_.phase);
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
    const std::string& name = transfers_[bucket.pieces.front().transfer].name;
    if (is_alone_ && bucket.in_place && file_bytes(bucket)) {
      failure_.guard(name, [&] { read_to_storage(bucket.pieces.front()); });
      return;
    }
    for (const Piece& piece : bucket.pieces) ready_piece(piece);
    if (!is_alone_) send(index, name);
    if (is_root_) {
      // The root's own copy is made while the bucket travels.
      for (const Piece& piece : bucket.pieces) {
        failure_.guard(name, [&] { fill_own(piece); });
      }
      sources_.drop_after(index);
    }
  }

  /// The file that an in-place bucket is read from; null if it is read from memory.
  const FileBytes* file_bytes(const Bucket& bucket) const {
    return transfers_[bucket.pieces.front().transfer].file_bytes.get();
  }

  void read_to_storage(const Piece& piece) const {
    populate_pages(stored(piece), piece.stored_bytes);
    transfers_[piece.transfer].file_bytes->read(piece.wire_begin,
                                                {stored(piece), piece.stored_bytes});
  }

  void send(size_t index, const std::string& name) {
    const Bucket& bucket = buckets_[index];
    const at::Tensor buffer =
        bucket.in_place ? in_place_buffer(bucket.pieces.front()) : packed_buffer(index, bucket);
    if (is_root_ && !bucket.in_place) {
      failure_.guard(name, [&] { pack(bucket, data_of(buffer)); });
    }
    flights_[index % kBucketsInFlight] = {
        communicator_.start_broadcast(buffer, options_.root, name), buffer};
  }

  void ready_piece(const Piece& piece) {
    if (is_root_) {
      failure_.guard(transfers_[piece.transfer].name, [&] { sources_.open(piece.transfer); });
    }
    const bool is_written = !is_root_ || sources_.bytes(piece.transfer).defined();
    if (is_written && piece.stored_bytes >= kPopulateAtLeast) {
      populate_pages(stored(piece), piece.stored_bytes);
    }
  }

  static std::byte* data_of(const at::Tensor& bytes) {
    return static_cast<std::byte*>(bytes.mutable_data_ptr());
  }

  std::byte* stored(const Piece& piece) const {
    return data_of(transfers_[piece.transfer].destination) + piece.stored_begin;
  }

  /// The root's wire bytes: the source's, or those that the storage holds already.
  const std::byte* source(const Piece& piece) const {
    const at::Tensor& bytes = sources_.bytes(piece.transfer);
    if (!bytes.defined()) return stored(piece);
    return static_cast<const std::byte*>(bytes.const_data_ptr()) + piece.wire_begin;
  }

  at::Tensor in_place_buffer(const Piece& piece) const {
    const at::Tensor& bytes = sources_.bytes(piece.transfer);
    if (is_root_ && bytes.defined()) {
      return bytes.narrow(0, static_cast<int64_t>(piece.wire_begin),
                          static_cast<int64_t>(piece.wire_bytes));
    }
    return transfers_[piece.transfer].destination.narrow(
        0, static_cast<int64_t>(piece.stored_begin), static_cast<int64_t>(piece.stored_bytes));
  }

  at::Tensor packed_buffer(size_t index, const Bucket& bucket) {
    return scratch_[index % kBucketsInFlight].narrow(0, 0, static_cast<int64_t>(bucket.bytes));
  }

  void pack(const Bucket& bucket, std::byte* buffer) const {
    for (const Piece& piece : bucket.pieces) {
      std::memcpy(buffer + piece.bucket_offset, source(piece), piece.wire_bytes);
    }
  }

  void fill_own(const Piece& piece) const {
    if (sources_.bytes(piece.transfer).defined()) land(piece, source(piece));
  }

  /// Puts wire bytes into the storage.
  void land(const Piece& piece, const std::byte* wire) const {
    if (const auto& cast = transfers_[piece.transfer].layout.cast) {
      elements(stored(piece), piece.stored_bytes, cast->stored)
          .copy_(elements(const_cast<std::byte*>(wire), piece.wire_bytes, cast->wire));
    } else {
      std::memcpy(stored(piece), wire, piece.wire_bytes);
    }
  }

  static at::Tensor elements(std::byte* data, size_t bytes, at::ScalarType dtype) {
    return at::from_blob(data, {static_cast<int64_t>(bytes / c10::elementSize(dtype))},
                         at::dtype(dtype));
  }

  void finish(size_t index) {
    const Bucket& bucket = buckets_[index];
    if (!is_alone_) receive(index);
    bytes_ += bucket.bytes;
    if (options_.progress) {
      failure_.guard("progress callback", [&] {
        options_.progress({options_.phase, bytes_, total_bytes_});
      });
    }
  }

  void receive(size_t index) {
    const Bucket& bucket = buckets_[index];
    const Flight flight = std::move(flights_[index % kBucketsInFlight]);
    flight.broadcast->wait();
    if (is_root_ && bucket.in_place && file_bytes(bucket)) {
      const Piece& piece = bucket.pieces.front();
      file_bytes(bucket)->forget(piece.wire_begin, piece.wire_bytes);
    }
    if (is_root_ || bucket.in_place) return;
    for (const Piece& piece : bucket.pieces) {
      failure_.guard(transfers_[piece.transfer].name,
                     [&] { land(piece, data_of(flight.buffer) + piece.bucket_offset); });
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
  bool is_alone_;  ///< nothing has to be packed or sent
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
