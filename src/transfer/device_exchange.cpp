#include "transfer/device_exchange.hpp"

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
#include "transfer/exchange_rounds.hpp"
#include "transfer/exchange_transfers.hpp"
#include "transfer/first_failure.hpp"
#include "transfer/keep_in_flight.hpp"
#include "transfer/open_sources.hpp"
#include "transfer/record_on.hpp"
#include "transfer/root_feed.hpp"
#include "transfer/run_or_abandon.hpp"
#include "transfer/stream_progress.hpp"

namespace fakescore::detail {
namespace {

/// The runs of a block within a tensor of bytes, as elements of `dtype`.
at::Tensor runs_within(const at::Tensor& bytes, const Place& place, const Block& block,
                       at::ScalarType dtype) {
  const auto size = static_cast<int64_t>(c10::elementSize(dtype));
  const at::Tensor from = bytes.narrow(0, place.first, bytes.numel() - place.first);
  const at::Tensor whole = from.narrow(0, 0, from.numel() / size * size).view(dtype);
  return whole.as_strided({block.count, block.length}, {place.step / size, 1});
}

class DeviceExchange {
 public:
  /// Of rank `rank`.
  DeviceExchange(BulkPlane& bulk, int rank, const std::vector<Transfer>& transfers, int latest,
                 const TransferOptions& options)
      : bulk_(bulk),
        transfers_(transfers),
        options_(options),
        device_(bulk.device()),
        streams_(device_.type()),
        caller_(streams_.getStream(device_)),
        copy_(streams_.getStreamFromGlobalPool(device_, /*isHighPriority=*/false)),
        comm_(streams_.getStreamFromGlobalPool(device_, /*isHighPriority=*/true)),
        buckets_(plan_buckets_of(transfers, exchanged_at_once(device_, options))),
        rounds_(transfers, buckets_, rank, latest),
        sources_(transfers, buckets_),
        failure_(rank, options.phase),
        progress_(buckets_, options, failure_) {}

  /// Makes the scratch and pinned memory, before anything is on its way.
  void allocate() {
    size_t sent = 0;
    size_t received = 0;
    for (size_t i = 0; i < rounds_.count(); ++i) {
      const ExchangeRound round = rounds_.at(i);
      sent = std::max(sent, bytes_of(round.sends));
      received = std::max(received, bytes_of(round.receives));
    }
    // Who has whole tensors; others have their own parts, or what was read into its place.
    const bool is_root =
        std::any_of(transfers_.begin(), transfers_.end(), [](const Transfer& transfer) {
          return !transfer.cut->held && !std::holds_alternative<Received>(transfer.source);
        });
    if (is_root) {
      feed_ = std::make_unique<RootFeed>(transfers_, buckets_, options_.pinned_bytes, copy_);
    }
    for (InFlight& slot : in_flight_) {
      slot.outgoing = scratch(sent);
      slot.incoming = scratch(received);
      if (is_root) slot.wire = scratch(largest_packed_bytes(buckets_));
    }
  }

  TransferResult run() {
    // Destinations and scratch memory may still be in use by what the caller put on its stream.
    const c10::Event ready = record_on(caller_);
    ready.block(copy_);
    ready.block(comm_);
    keep_in_flight(
        rounds_.count(), kSlots, [this](size_t i) { start(i); }, [this](size_t i) { finish(i); });
    return {progress_.bytes(), failure_.info()};
  }

  /// Where the GPU is of no more use.
  void keep_memory_for_good() noexcept {
    std::vector<at::Tensor> memory;
    for (const InFlight& slot : in_flight_) {
      memory.insert(memory.end(), {slot.outgoing, slot.incoming, slot.wire});
    }
    for (const Transfer& transfer : transfers_) memory.push_back(transfer.destination);
    keep_for_good(std::move(memory));
  }

 private:
  static constexpr size_t kSlots = kRoundsInFlight;

  struct InFlight {
    at::Tensor outgoing;
    at::Tensor incoming;
    at::Tensor wire;  ///< of the root: a bucket as it was read
    std::unique_ptr<PendingOperation> exchange;
    std::unique_ptr<c10::Event> landed;
  };

  /// Where the exchanges break off, what is queued on the communication stream may still use it.
  at::Tensor scratch(size_t bytes) const {
    const at::Tensor memory = at::empty({static_cast<int64_t>(bytes)},
                                        at::TensorOptions().dtype(at::kByte).device(device_));
    memory.record_stream(comm_);
    return memory;
  }

  const Transfer& transfer_of(const RoutedPiece& routed) const {
    return transfers_[routed.piece->transfer];
  }

  void start(size_t number) {
    InFlight& slot = in_flight_[number % kSlots];
    const ExchangeRound round = rounds_.at(number);
    if (feed_ && number < buckets_.size()) {
      read_ahead(number);
      failure_.guard(rounds_.name_of(number), [&] { feed_->load(number, slot.wire); });
    }
    if (!feed_) open_sources(round);
    record_on(copy_).block(comm_);
    const c10::StreamGuard on_comm_stream(comm_);
    size_t begin = 0;
    for (const PeerPieces& peer : round.sends) {
      for (const RoutedPiece& routed : peer.pieces) {
        failure_.guard(transfer_of(routed).name,
                       [&] { pack(routed, slot, begin + routed.offset); });
      }
      begin += peer.bytes;
    }
    slot.exchange = bulk_.start_exchange(
        {part(slot.outgoing, 0, begin), parcels_of(round.sends),
         part(slot.incoming, 0, bytes_of(round.receives)), parcels_of(round.receives)},
        rounds_.name_of(number));
    for (const RoutedPiece& routed : round.kept) {
      failure_.guard(transfer_of(routed).name, [&] { keep(routed, slot); });
    }
    begin = 0;
    for (const PeerPieces& peer : round.receives) {
      for (const RoutedPiece& routed : peer.pieces) {
        failure_.guard(transfer_of(routed).name,
                       [&] { unpack(routed, slot.incoming, begin + routed.offset); });
      }
      begin += peer.bytes;
    }
    if (number < buckets_.size()) {
      sources_.drop_after(number);
      if (feed_) feed_->drop_after(number);
    }
    slot.landed = std::make_unique<c10::Event>(record_on(comm_));
  }

  /// Brings the parts that this rank has to its GPU, on the stream for copies: a copy from pageable
  /// memory has the host wait for its stream.
  void open_sources(const ExchangeRound& round) {
    const c10::StreamGuard on_copy_stream(copy_);
    const auto open = [this](const RoutedPiece& routed) {
      if (routed.route->rounds_later > 0) return;
      const size_t transfer = routed.piece->transfer;
      failure_.guard(transfers_[transfer].name, [&] {
        sources_.open(transfer);
        sources_.wire(transfer)->record_stream(comm_);
      });
    };
    for (const PeerPieces& peer : round.sends) {
      for (const RoutedPiece& routed : peer.pieces) open(routed);
    }
    for (const RoutedPiece& routed : round.kept) open(routed);
  }

  /// Gives the reader threads what the next rounds need.
  void read_ahead(size_t number) {
    const size_t last = std::min(number + kSlots, buckets_.size());
    for (; buckets_read_ < last; ++buckets_read_) {
      failure_.guard(rounds_.name_of(buckets_read_), [&] { feed_->read_ahead(buckets_read_); });
    }
  }

  /// Bytes that hold a piece's elements, and where a block of them lies there.
  std::pair<at::Tensor, Place> find(const RoutedPiece& routed, const InFlight& slot,
                                    const Block& block) {
    const Transfer& transfer = transfer_of(routed);
    if (routed.route->rounds_later > 0) {
      return {transfer.destination, place_in_destination(block, transfer)};
    }
    if (feed_) {
      Place place = place_in_source(block, transfer);
      place.first += static_cast<int64_t>(routed.piece->bucket_offset) -
                     static_cast<int64_t>(routed.piece->wire_begin);
      return {slot.wire, place};
    }
    return {*sources_.wire(routed.piece->transfer), place_in_source(block, transfer)};
  }

  at::ScalarType dtype_of(const RoutedPiece& routed) const {
    const auto cast = cast_of(*routed.route, transfer_of(routed));
    return cast ? cast->wire : at::kByte;
  }

  /// Without a cast all is bytes.
  static Block in_units(const Block& block, size_t element_bytes, at::ScalarType dtype) {
    Block units = block;
    units.length *= static_cast<int64_t>(element_bytes / c10::elementSize(dtype));
    return units;
  }

  template <typename Use>
  void for_each_run_in_a_row(const RoutedPiece& routed, size_t begin, Use use) {
    const size_t element_bytes = element_bytes_of(*routed.route, transfer_of(routed));
    for_each_block(routed, transfer_of(routed), [&](const Block& block) {
      const auto run_bytes = block.length * static_cast<int64_t>(element_bytes);
      use(block, Place{static_cast<int64_t>(begin), run_bytes});
      begin += static_cast<size_t>(run_bytes * block.count);
    });
  }

  void pack(const RoutedPiece& routed, const InFlight& slot, size_t begin) {
    const at::ScalarType dtype = dtype_of(routed);
    const size_t element_bytes = element_bytes_of(*routed.route, transfer_of(routed));
    for_each_run_in_a_row(routed, begin, [&](const Block& block, const Place& there) {
      const auto [from, here] = find(routed, slot, block);
      const Block units = in_units(block, element_bytes, dtype);
      runs_within(slot.outgoing, there, units, dtype)
          .copy_(runs_within(from, here, units, dtype), /*non_blocking=*/true);
    });
  }

  void keep(const RoutedPiece& routed, const InFlight& slot) {
    for_each_block(routed, transfer_of(routed), [&](const Block& block) {
      const auto [from, here] = find(routed, slot, block);
      land(routed, block, from, here);
    });
  }

  void unpack(const RoutedPiece& routed, const at::Tensor& incoming, size_t begin) {
    for_each_run_in_a_row(routed, begin, [&](const Block& block, const Place& here) {
      land(routed, block, incoming, here);
    });
  }

  void land(const RoutedPiece& routed, const Block& block, const at::Tensor& from,
            const Place& here) {
    const Transfer& transfer = transfer_of(routed);
    const auto cast = cast_of(*routed.route, transfer);
    const at::ScalarType stored = cast ? cast->stored : at::kByte;
    const Block units = in_units(block, transfer.cut->element_bytes, stored);
    transfer.destination.record_stream(comm_);
    runs_within(transfer.destination, place_in_destination(block, transfer), units, stored)
        .copy_(runs_within(from, here, units, dtype_of(routed)), /*non_blocking=*/true);
  }

  void finish(size_t number) {
    InFlight& slot = in_flight_[number % kSlots];
    slot.exchange->wait();
    slot.landed->synchronize();
    if (number < buckets_.size()) progress_.add(buckets_[number].bytes);
  }

  BulkPlane& bulk_;
  const std::vector<Transfer>& transfers_;
  const TransferOptions& options_;
  at::Device device_;
  c10::impl::VirtualGuardImpl streams_;
  c10::Stream caller_;
  c10::Stream copy_;
  c10::Stream comm_;
  std::vector<Bucket> buckets_;
  ExchangeRounds rounds_;
  OpenSources sources_;  ///< of ranks that have parts
  FirstFailure failure_;
  StreamProgress progress_;
  std::array<InFlight, kSlots> in_flight_;
  std::unique_ptr<RootFeed> feed_;  ///< of a root that has all
  size_t buckets_read_ = 0;
};

}  // namespace

TransferResult exchange_on_device(Communicator& communicator,
                                  const std::vector<Transfer>& transfers, int latest,
                                  const TransferOptions& options) {
  const at::NoGradGuard no_grad;
  BulkPlane& bulk = communicator.bulk(transfers.front().destination.device());
  const c10::DeviceGuard guard(bulk.device());
  std::unique_ptr<DeviceExchange> exchange;
  run_agreed(communicator, options.phase, ErrorCode::kMemory, [&] {
    exchange =
        std::make_unique<DeviceExchange>(bulk, communicator.rank(), transfers, latest, options);
    exchange->allocate();
  });
  // Who sends may wait for its disk for long.
  const auto work = communicator.begin_work(options.phase);
  try {
    return run_or_abandon(communicator, options.phase, [&] { return exchange->run(); });
  } catch (const CommError&) {
    if (!is_usable(bulk.device())) exchange->keep_memory_for_good();
    throw;
  }
}

}  // namespace fakescore::detail
