#include "transfer/host_pipeline.hpp"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <array>
#include <cstring>
#include <memory>

#include "fakescore/comm/run_agreed.hpp"
#include "tensor/storage_bytes.hpp"
#include "transfer/first_failure.hpp"
#include "transfer/keep_in_flight.hpp"
#include "transfer/land.hpp"
#include "transfer/open_sources.hpp"
#include "transfer/prefetch.hpp"
#include "transfer/run_or_abandon.hpp"
#include "transfer/stream_progress.hpp"

namespace fakescore::detail {
namespace {

class HostPipeline {
 public:
  HostPipeline(Communicator& communicator, const std::vector<Transfer>& transfers,
               const TransferOptions& options)
      : communicator_(communicator),
        transfers_(transfers),
        options_(options),
        buckets_(plan_buckets_of(transfers, options.bucket_bytes)),
        sources_(transfers, buckets_),
        prefetch_(transfers, buckets_, communicator.rank()),
        failure_(communicator.rank(), options.phase),
        progress_(buckets_, options, failure_) {}

  /// Makes the memory for packed buckets, before anything is in flight.
  void allocate() {
    const size_t largest = largest_packed_bytes(buckets_);
    for (at::Tensor& scratch : scratch_) {
      scratch = at::empty({static_cast<int64_t>(largest)}, at::kByte);
    }
  }

  TransferResult run() {
    keep_in_flight(
        buckets_.size(), kBucketsInFlight, [this](size_t i) { start(i); },
        [this](size_t i) { finish(i); });
    return {progress_.bytes(), failure_.info()};
  }

 private:
  struct BucketInFlight {
    std::unique_ptr<PendingOperation> broadcast;
    at::Tensor buffer;
  };

  void start(size_t index) {
    const Bucket& bucket = buckets_[index];
    const std::string& name = transfers_[bucket.pieces.front().transfer].name;
    prefetch_.advance(index);
    const bool is_root = is_root_of(bucket);
    for (const Piece& piece : bucket.pieces) make_ready(piece, is_root);
    send(index, name);
    if (is_root) {
      // The root's own copy is made while the bucket travels.
      for (const Piece& piece : bucket.pieces) {
        failure_.guard(name, [&] { fill_own(piece); });
      }
      sources_.drop_after(index);
    }
  }

  bool is_root_of(const Bucket& bucket) const { return communicator_.rank() == bucket.root; }

  void make_ready(const Piece& piece, bool is_root) {
    const Transfer& transfer = transfers_[piece.transfer];
    if (is_root) {
      failure_.guard(transfer.name, [&] { sources_.open(piece.transfer); });
    }
    const bool is_written = !is_root || sources_.wire(piece.transfer) != nullptr;
    if (is_written) populate_if_large(transfer, piece);
  }

  void send(size_t index, const std::string& name) {
    const Bucket& bucket = buckets_[index];
    const bool is_root = is_root_of(bucket);
    const at::Tensor buffer = bucket.in_place ? in_place_buffer(bucket.pieces.front(), is_root)
                                              : packed_buffer(index, bucket);
    if (is_root && !bucket.in_place) {
      failure_.guard(name, [&] { pack(bucket, buffer); });
    }
    in_flight_[index % kBucketsInFlight] = {
        communicator_.start_broadcast(buffer, bucket.root, name), buffer};
  }

  /// The root's wire bytes: the source's, or those that the storage holds already.
  const std::byte* wire(const Piece& piece) const {
    const at::Tensor* bytes = sources_.wire(piece.transfer);
    if (bytes == nullptr) return stored_bytes(transfers_[piece.transfer], piece);
    return static_cast<const std::byte*>(bytes->const_data_ptr()) + piece.wire_begin;
  }

  at::Tensor in_place_buffer(const Piece& piece, bool is_root) const {
    const at::Tensor* bytes = is_root ? sources_.wire(piece.transfer) : nullptr;
    if (bytes != nullptr) {
      return part(*bytes, piece.wire_begin, piece.wire_bytes);
    }
    return part(transfers_[piece.transfer].destination, piece.stored_begin, piece.stored_bytes);
  }

  at::Tensor packed_buffer(size_t index, const Bucket& bucket) {
    return part(scratch_[index % kBucketsInFlight], 0, bucket.bytes);
  }

  void pack(const Bucket& bucket, const at::Tensor& buffer) const {
    auto* to = static_cast<std::byte*>(buffer.mutable_data_ptr());
    for (const Piece& piece : bucket.pieces) {
      std::memcpy(to + piece.bucket_offset, wire(piece), piece.wire_bytes);
    }
  }

  void fill_own(const Piece& piece) const {
    if (sources_.wire(piece.transfer) == nullptr) return;
    land(transfers_[piece.transfer], piece, wire(piece));
  }

  void finish(size_t index) {
    const Bucket& bucket = buckets_[index];
    const BucketInFlight arrived = std::move(in_flight_[index % kBucketsInFlight]);
    arrived.broadcast->wait();
    if (is_root_of(bucket)) {
      forget_mapping(bucket);
    } else if (!bucket.in_place) {
      unpack(bucket, arrived.buffer);
    }
    progress_.add(bucket.bytes);
  }

  /// What was sent from a file's mapping is no longer needed there. Small tensors are left: pages
  /// hold several.
  void forget_mapping(const Bucket& bucket) const {
    for (const Piece& piece : bucket.pieces) {
      const Transfer& transfer = transfers_[piece.transfer];
      const auto* file = std::get_if<InFile>(&transfer.source);
      if (file == nullptr || !bucket.in_place) continue;
      file->bytes->forget(piece.wire_begin, piece.wire_bytes);
    }
  }

  void unpack(const Bucket& bucket, const at::Tensor& buffer) {
    const auto* from = static_cast<const std::byte*>(buffer.const_data_ptr());
    for (const Piece& piece : bucket.pieces) {
      const Transfer& transfer = transfers_[piece.transfer];
      failure_.guard(transfer.name, [&] { land(transfer, piece, from + piece.bucket_offset); });
    }
  }

  Communicator& communicator_;
  const std::vector<Transfer>& transfers_;
  const TransferOptions& options_;
  std::vector<Bucket> buckets_;
  OpenSources sources_;
  Prefetch prefetch_;
  FirstFailure failure_;
  StreamProgress progress_;
  std::array<BucketInFlight, kBucketsInFlight> in_flight_;
  std::array<at::Tensor, kBucketsInFlight> scratch_;
};

}  // namespace

TransferResult broadcast_on_host(Communicator& communicator, const std::vector<Transfer>& transfers,
                                 const TransferOptions& options) {
  const at::NoGradGuard no_grad;
  std::unique_ptr<HostPipeline> pipeline;
  run_agreed(communicator, options.phase, ErrorCode::kMemory, [&] {
    pipeline = std::make_unique<HostPipeline>(communicator, transfers, options);
    pipeline->allocate();
  });
  // A root may wait for its disk for long.
  const auto work = communicator.begin_work(options.phase);
  return run_or_abandon(communicator, options.phase, [&] { return pipeline->run(); });
}

}  // namespace fakescore::detail
