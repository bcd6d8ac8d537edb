#include "sync/device_pipeline.hpp"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "core/broken_device.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "sync/first_failure.hpp"
#include "sync/flight_plan.hpp"
#include "sync/pinned_reader.hpp"
#include "sync/transfer_sources.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kReaderThreads = 2;

/// Bytes of one source within a slot.
struct Read {
  at::Tensor source;
  size_t offset = 0;  ///< into the slot
};

at::Tensor part(const at::Tensor& bytes, size_t begin, size_t size) {
  return bytes.narrow(0, static_cast<int64_t>(begin), static_cast<int64_t>(size));
}

c10::Event record_on(const c10::Stream& stream) {
  c10::Event event(stream.device_type());
  event.record(stream);
  return event;
}

class DevicePipeline {
 public:
  DevicePipeline(Communicator& communicator, const std::vector<Transfer>& transfers,
                 const PipelineOptions& options)
      : communicator_(communicator),
        transfers_(transfers),
        options_(options),
        is_root_(communicator.rank() == options.root),
        device_(communicator.device()),
        streams_(device_.type()),
        caller_(streams_.getStream(device_)),
        copy_(streams_.getStreamFromGlobalPool(device_, /*isHighPriority=*/false)),
        comm_(streams_.getStreamFromGlobalPool(device_, /*isHighPriority=*/true)),
        buckets_(plan_buckets(layouts_of(transfers), options.bucket_bytes)),
        flights_(plan_flights(buckets_, options.bucket_bytes)),
        sources_(transfers, buckets_),
        failure_(communicator.rank(), options.phase) {
    for (const Bucket& bucket : buckets_) total_bytes_ += bucket.bytes;
  }

  /// Makes the scratch and pinned memory, before anything is in flight.
  void allocate() {
    const size_t largest = largest_packed_bytes(flights_);
    for (size_t i = 0; i < std::min(kFlightsInFlight, flights_.size()); ++i) {
      scratch_[i] = at::empty({static_cast<int64_t>(largest)},
                              at::TensorOptions().dtype(at::kByte).device(device_));
    }
    if (is_root_ && reads_host_memory()) {
      reader_ = std::make_unique<PinnedReader>(options_.pinned_bytes, kReaderThreads, device_);
    }
  }

  PipelineResult run() {
    // The root may wait for its disk for long.
    const auto work = communicator_.begin_work(options_.phase);
    try {
      // Destinations and scratch memory may still be in use by what the caller put on its stream.
      const c10::Event ready = record_on(caller_);
      ready.block(copy_);
      ready.block(comm_);
      for (size_t i = 0; i < flights_.size() + kFlightsInFlight; ++i) {
        if (i >= kFlightsInFlight) finish(i - kFlightsInFlight);
        if (i < flights_.size()) start(i);
      }
    } catch (const Error&) {
      throw;
    } catch (...) {
      // The stream of broadcasts ends in the middle, which the other ranks cannot know otherwise.
      const auto info = describe_current_exception(communicator_.rank(), options_.phase);
      throw CommError(communicator_.abandon(options_.phase + ": " + info.message));
    }
    return {bytes_, failure_.info()};
  }

  /// Where the GPU is of no more use.
  void keep_memory_for_good() noexcept {
    std::vector<at::Tensor> memory(scratch_.begin(), scratch_.end());
    for (const Transfer& transfer : transfers_) memory.push_back(transfer.destination);
    keep_for_good(std::move(memory));
  }

 private:
  struct Flight {
    std::unique_ptr<PendingBroadcast> broadcast;
    std::unique_ptr<c10::Event> landed;
  };

  bool reads_host_memory() const {
    return std::any_of(transfers_.begin(), transfers_.end(),
                       [](const Transfer& transfer) { return transfer.reads_host_memory; });
  }

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
    if (is_root_) {
      read_ahead(number);
      const c10::StreamGuard on_copy_stream(copy_);
      for (size_t i = flight.first_bucket; i < end; ++i) {
        failure_.guard(name_of(buckets_[i]), [&] { load(i, wire(flight, i, slot)); });
      }
      record_on(copy_).block(comm_);
    }
    const c10::StreamGuard on_comm_stream(comm_);
    std::vector<at::Tensor> buffers;
    if (flight.packed_bytes > 0) buffers.push_back(part(scratch_[slot], 0, flight.packed_bytes));
    for (size_t i = flight.first_bucket; i < end; ++i) {
      if (buckets_[i].in_place) buffers.push_back(wire(flight, i, slot));
    }
    in_flight_[slot].broadcast = communicator_.start_broadcast_group(buffers, options_.root, name);
    for (size_t i = flight.first_bucket; i < end; ++i) {
      if (!buckets_[i].in_place) {
        failure_.guard(name_of(buckets_[i]), [&] { unpack(buckets_[i], wire(flight, i, slot)); });
      }
      sources_.drop_after(i);
    }
    in_flight_[slot].landed = std::make_unique<c10::Event>(record_on(comm_));
  }

  /// Gives the reader threads what the next flights need.
  void read_ahead(size_t number) {
    const size_t last = std::min(number + kFlightsInFlight, flights_.size());
    for (; flights_read_ < last; ++flights_read_) {
      const FlightPlan& flight = flights_[flights_read_];
      for (size_t i = 0; i < flight.buckets; ++i) {
        const Bucket& bucket = buckets_[flight.first_bucket + i];
        failure_.guard(name_of(bucket), [&] { submit_reads(bucket); });
      }
    }
  }

  void submit_reads(const Bucket& bucket) {
    const c10::StreamGuard on_copy_stream(copy_);
    for (const Piece& piece : bucket.pieces) sources_.open(piece.transfer);
    if (!comes_from_host(bucket)) return;
    if (!reader_) {
      throw_error({ErrorCode::kInternal, -1, "", name_of(bucket),
                   "is in host memory, but its transfer says that it is not", "report it"});
    }
    for (size_t begin = 0; begin < bucket.bytes; begin += reader_->slot_bytes()) {
      const size_t end = std::min(begin + reader_->slot_bytes(), bucket.bytes);
      reader_->submit([reads = reads_within(bucket, begin, end)](std::byte* slot) {
        for (const Read& read : reads) {
          RECORD_USER_SCOPE_WITH_INPUTS("fakescore::read", std::vector<c10::IValue>{read.source});
          std::memcpy(slot + read.offset, read.source.const_data_ptr(), read.source.nbytes());
        }
      });
    }
  }

  bool is_on_host(const Piece& piece) const {
    const at::Tensor& bytes = sources_.bytes(piece.transfer);
    return bytes.defined() && bytes.is_cpu();
  }

  bool comes_from_host(const Bucket& bucket) const {
    return std::any_of(bucket.pieces.begin(), bucket.pieces.end(),
                       [&](const Piece& piece) { return is_on_host(piece); });
  }

  /// What of a bucket's wire bytes [begin, end) comes from host memory.
  std::vector<Read> reads_within(const Bucket& bucket, size_t begin, size_t end) const {
    std::vector<Read> reads;
    for (const Piece& piece : bucket.pieces) {
      const size_t from = std::max(begin, piece.bucket_offset);
      const size_t to = std::min(end, piece.bucket_offset + piece.wire_bytes);
      if (from >= to || !is_on_host(piece)) continue;
      reads.push_back({part(sources_.bytes(piece.transfer),
                            piece.wire_begin + from - piece.bucket_offset, to - from),
                       from - begin});
    }
    return reads;
  }

  /// Brings a bucket's wire bytes to the device, on the copy stream.
  void load(size_t index, const at::Tensor& wire) {
    const Bucket& bucket = buckets_[index];
    // The allocator must not hand the memory out again before the copies are done.
    wire.record_stream(copy_);
    if (comes_from_host(bucket)) {
      for (size_t begin = 0; begin < bucket.bytes; begin += reader_->slot_bytes()) {
        const size_t bytes = std::min(reader_->slot_bytes(), bucket.bytes - begin);
        copy_next_slot(part(wire, begin, bytes));
      }
    }
    for (const Piece& piece : bucket.pieces) {
      const at::Tensor& source = sources_.bytes(piece.transfer);
      if (is_on_host(piece) || (bucket.in_place && !source.defined())) continue;
      const at::Tensor from =
          source.defined() ? part(source, piece.wire_begin, piece.wire_bytes) : stored(piece);
      part(wire, piece.bucket_offset, piece.wire_bytes).copy_(from, /*non_blocking=*/true);
    }
  }

  void copy_next_slot(const at::Tensor& to) {
    try {
      to.copy_(part(reader_->take(), 0, to.nbytes()), /*non_blocking=*/true);
    } catch (...) {
      reader_->release(record_on(copy_));
      throw;
    }
    reader_->release(record_on(copy_));
  }

  void unpack(const Bucket& bucket, const at::Tensor& wire) {
    std::vector<at::Tensor> to;
    std::vector<at::Tensor> from;
    for (const Piece& piece : bucket.pieces) {
      if (is_root_ && !sources_.bytes(piece.transfer).defined()) continue;  // it holds them already
      const at::Tensor bytes = part(wire, piece.bucket_offset, piece.wire_bytes);
      const auto& cast = transfers_[piece.transfer].layout.cast;
      const at::Tensor destination = stored(piece);
      destination.record_stream(comm_);
      if (cast) {
        destination.view(cast->stored).copy_(bytes.view(cast->wire), /*non_blocking=*/true);
      } else {
        to.push_back(destination);
        from.push_back(bytes);
      }
    }
    if (!to.empty()) at::_foreach_copy_(to, from, /*non_blocking=*/true);
  }

  void finish(size_t number) {
    Flight flight = std::move(in_flight_[number % kFlightsInFlight]);
    flight.broadcast->wait();
    flight.landed->synchronize();
    bytes_ += flights_[number].bytes;
    if (options_.progress) {
      failure_.guard("progress callback", [&] {
        options_.progress({options_.phase, bytes_, total_bytes_});
      });
    }
  }

  Communicator& communicator_;
  const std::vector<Transfer>& transfers_;
  const PipelineOptions& options_;
  bool is_root_;
  at::Device device_;
  c10::impl::VirtualGuardImpl streams_;
  c10::Stream caller_;
  c10::Stream copy_;
  c10::Stream comm_;
  std::vector<Bucket> buckets_;
  std::vector<FlightPlan> flights_;
  TransferSources sources_;
  FirstFailure failure_;
  std::array<at::Tensor, kFlightsInFlight> scratch_;
  std::array<Flight, kFlightsInFlight> in_flight_;
  std::unique_ptr<PinnedReader> reader_;
  size_t flights_read_ = 0;
  uint64_t total_bytes_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace

PipelineResult broadcast_to_device(Communicator& communicator,
                                   const std::vector<Transfer>& transfers,
                                   const PipelineOptions& options) {
  const at::NoGradGuard no_grad;
  const c10::DeviceGuard guard(communicator.device());
  std::unique_ptr<DevicePipeline> pipeline;
  run_agreed(communicator, options.phase, ErrorCode::kMemory, [&] {
    pipeline = std::make_unique<DevicePipeline>(communicator, transfers, options);
    pipeline->allocate();
  });
  try {
    return pipeline->run();
  } catch (const CommError&) {
    if (!is_usable(communicator.device())) pipeline->keep_memory_for_good();
    throw;
  }
}

}  // namespace fakescore::detail
