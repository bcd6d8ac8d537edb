#include "transfer/device_pipeline.hpp"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <array>
#include <memory>

#include "fakescore/comm/run_agreed.hpp"
#include "tensor/broken_device.hpp"
#include "tensor/storage_bytes.hpp"
#include "transfer/first_failure.hpp"
#include "transfer/flight_plan.hpp"
#include "transfer/keep_in_flight.hpp"
#include "transfer/record_on.hpp"
#include "transfer/root_feed.hpp"
#include "transfer/run_or_abandon.hpp"
#include "transfer/stream_progress.hpp"

namespace fakescore::detail {
namespace {

class DevicePipeline {
 public:
  /// Of rank `rank`; without a plane it takes in what its own sources have.
  DevicePipeline(BulkPlane* bulk, at::Device device, int rank,
                 const std::vector<Transfer>& transfers, const TransferOptions& options)
      : bulk_(bulk),
        rank_(rank),
        transfers_(transfers),
        options_(options),
        device_(device),
        streams_(device_.type()),
        caller_(streams_.getStream(device_)),
        copy_(streams_.getStreamFromGlobalPool(device_, /*isHighPriority=*/false)),
        comm_(streams_.getStreamFromGlobalPool(device_, /*isHighPriority=*/true)),
        buckets_(plan_buckets_of(transfers, options.bucket_bytes)),
        flights_(plan_flights(buckets_, options.bucket_bytes)),
        failure_(rank, options.phase),
        progress_(buckets_, options, failure_) {}

  /// Makes the scratch and pinned memory, before anything is in flight.
  void allocate() {
    const size_t largest = largest_packed_bytes(flights_);
    for (size_t i = 0; i < std::min(kFlightsInFlight, flights_.size()); ++i) {
      scratch_[i] = at::empty({static_cast<int64_t>(largest)},
                              at::TensorOptions().dtype(at::kByte).device(device_));
    }
    if (std::any_of(flights_.begin(), flights_.end(),
                    [this](const FlightPlan& flight) { return is_read(flight); })) {
      feed_ = std::make_unique<RootFeed>(transfers_, buckets_, options_.pinned_bytes, copy_);
    }
  }

  TransferResult run() {
    // Destinations and scratch memory may still be in use by what the caller put on its stream.
    const c10::Event ready = record_on(caller_);
    ready.block(copy_);
    ready.block(comm_);
    keep_in_flight(
        flights_.size(), kFlightsInFlight, [this](size_t i) { start(i); },
        [this](size_t i) { finish(i); });
    return {progress_.bytes(), failure_.info()};
  }

  /// Where the GPU is of no more use.
  void keep_memory_for_good() noexcept {
    std::vector<at::Tensor> memory(scratch_.begin(), scratch_.end());
    for (const Transfer& transfer : transfers_) memory.push_back(transfer.destination);
    keep_for_good(std::move(memory));
  }

 private:
  struct Flight {
    std::unique_ptr<PendingOperation> broadcast;
    std::unique_ptr<c10::Event> landed;
  };

  /// By this rank.
  bool is_read(const FlightPlan& flight) const { return bulk_ == nullptr || rank_ == flight.root; }

  const std::string& name_of(const Bucket& bucket) const {
    return transfers_[bucket.pieces.front().transfer].name;
  }

  at::Tensor stored(const Piece& piece) const {
    return part(transfers_[piece.transfer].destination, piece.stored_begin, piece.stored_bytes);
  }

  /// Where a bucket's wire bytes lie on the device.
  at::Tensor wire(const FlightPlan& flight, size_t index, size_t slot) const {
    const Bucket& bucket = buckets_[index];
    if (bucket.in_place) return stored(bucket.pieces.front());
    return part(scratch_[slot], flight.scratch_offset[index - flight.first_bucket], bucket.bytes);
  }

  void start(size_t number) {
    const FlightPlan& flight = flights_[number];
    const size_t slot = number % kFlightsInFlight;
    const size_t end = flight.first_bucket + flight.buckets;
    const std::string& name = name_of(buckets_[flight.first_bucket]);
    // Also while another rank has its turn.
    if (feed_) read_ahead(number);
    if (is_read(flight)) {
      for (size_t i = flight.first_bucket; i < end; ++i) {
        failure_.guard(name_of(buckets_[i]), [&] { feed_->load(i, wire(flight, i, slot)); });
      }
      record_on(copy_).block(comm_);
    }
    const c10::StreamGuard on_comm_stream(comm_);
    std::vector<at::Tensor> buffers;
    if (flight.packed_bytes > 0) buffers.push_back(part(scratch_[slot], 0, flight.packed_bytes));
    for (size_t i = flight.first_bucket; i < end; ++i) {
      if (buckets_[i].in_place) buffers.push_back(wire(flight, i, slot));
    }
    if (bulk_ != nullptr) {
      in_flight_[slot].broadcast = bulk_->start_broadcast_group(buffers, flight.root, name);
    }
    for (size_t i = flight.first_bucket; i < end; ++i) {
      if (!buckets_[i].in_place) {
        failure_.guard(name_of(buckets_[i]), [&] { unpack(buckets_[i], wire(flight, i, slot)); });
      }
      if (feed_) feed_->drop_after(i);
    }
    in_flight_[slot].landed = std::make_unique<c10::Event>(record_on(comm_));
  }

  /// Gives the reader threads what this rank's next flights need.
  void read_ahead(size_t number) {
    for (size_t ahead = 0; ahead < kFlightsInFlight && number < flights_.size(); ++number) {
      const FlightPlan& flight = flights_[number];
      if (!is_read(flight)) continue;
      ++ahead;
      if (number < next_to_read_) continue;
      next_to_read_ = number + 1;
      for (size_t i = 0; i < flight.buckets; ++i) {
        const size_t bucket = flight.first_bucket + i;
        failure_.guard(name_of(buckets_[bucket]), [&] { feed_->read_ahead(bucket); });
      }
    }
  }

  void unpack(const Bucket& bucket, const at::Tensor& wire) {
    std::vector<at::Tensor> to;
    std::vector<at::Tensor> from;
    for (const Piece& piece : bucket.pieces) {
      if (feed_ && feed_->is_in_destination(piece)) continue;
      const Transfer& transfer = transfers_[piece.transfer];
      transfer.destination.record_stream(comm_);
      const at::Tensor bytes = part(wire, piece.bucket_offset, piece.wire_bytes);
      const at::Tensor place = stored(piece);
      if (const auto& cast = transfer.layout.cast) {
        place.view(cast->stored).copy_(bytes.view(cast->wire), /*non_blocking=*/true);
      } else {
        to.push_back(place);
        from.push_back(bytes);
      }
    }
    if (!to.empty()) at::_foreach_copy_(to, from, /*non_blocking=*/true);
  }

  void finish(size_t number) {
    Flight flight = std::move(in_flight_[number % kFlightsInFlight]);
    if (flight.broadcast) flight.broadcast->wait();
    flight.landed->synchronize();
    progress_.add(flights_[number].bytes);
  }

  BulkPlane* bulk_;
  int rank_;
  const std::vector<Transfer>& transfers_;
  const TransferOptions& options_;
  at::Device device_;
  c10::impl::VirtualGuardImpl streams_;
  c10::Stream caller_;
  c10::Stream copy_;
  c10::Stream comm_;
  std::vector<Bucket> buckets_;
  std::vector<FlightPlan> flights_;
  FirstFailure failure_;
  StreamProgress progress_;
  std::array<at::Tensor, kFlightsInFlight> scratch_;
  std::array<Flight, kFlightsInFlight> in_flight_;
  std::unique_ptr<RootFeed> feed_;  ///< of a rank that reads
  size_t next_to_read_ = 0;
};

}  // namespace

TransferResult broadcast_to_device(Communicator& communicator,
                                   const std::vector<Transfer>& transfers,
                                   const TransferOptions& options) {
  const at::NoGradGuard no_grad;
  BulkPlane& bulk = communicator.bulk(transfers.front().destination.device());
  const c10::DeviceGuard guard(bulk.device());
  std::unique_ptr<DevicePipeline> pipeline;
  run_agreed(communicator, options.phase, ErrorCode::kMemory, [&] {
    pipeline = std::make_unique<DevicePipeline>(&bulk, bulk.device(), communicator.rank(),
                                                transfers, options);
    pipeline->allocate();
  });
  // The root may wait for its disk for long.
  const auto work = communicator.begin_work(options.phase);
  try {
    return run_or_abandon(communicator, options.phase, [&] { return pipeline->run(); });
  } catch (const CommError&) {
    if (!is_usable(bulk.device())) pipeline->keep_memory_for_good();
    throw;
  }
}

TransferResult copy_to_device(const std::vector<Transfer>& transfers, at::Device device, int rank,
                              const TransferOptions& options) {
  const at::NoGradGuard no_grad;
  const c10::DeviceGuard guard(device);
  std::unique_ptr<DevicePipeline> pipeline;
  try {
    pipeline = std::make_unique<DevicePipeline>(nullptr, device, rank, transfers, options);
    pipeline->allocate();
    return pipeline->run();
  } catch (...) {
    const ErrorInfo info = describe_current_exception(rank, options.phase);
    if (pipeline && !is_usable(device)) pipeline->keep_memory_for_good();
    return {0, info};
  }
}

}  // namespace fakescore::detail
