#include "transfer/host_exchange.hpp"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "fakescore/comm/run_agreed.hpp"
#include "tensor/storage_bytes.hpp"
#include "transfer/exchange_rounds.hpp"
#include "transfer/exchange_transfers.hpp"
#include "transfer/first_failure.hpp"
#include "transfer/keep_in_flight.hpp"
#include "transfer/open_sources.hpp"
#include "transfer/populate.hpp"
#include "transfer/prefetch.hpp"
#include "transfer/run_or_abandon.hpp"
#include "transfer/stream_progress.hpp"

namespace fakescore::detail {
namespace {

/// The runs of a block, as elements of `dtype`.
at::Tensor runs(std::byte* data, const Place& place, const Block& block, at::ScalarType dtype) {
  const auto bytes = static_cast<int64_t>(c10::elementSize(dtype));
  return at::from_blob(data + place.first, {block.count, block.length}, {place.step / bytes, 1},
                       at::dtype(dtype));
}

void copy_runs(std::byte* to, const Place& there, const std::byte* from, const Place& here,
               const Block& block, size_t run_bytes) {
  for (int64_t run = 0; run < block.count; ++run) {
    std::memcpy(to + there.first + run * there.step, from + here.first + run * here.step,
                run_bytes);
  }
}

/// Runs one after the other.
Place in_a_row(size_t begin, size_t run_bytes) {
  return {static_cast<int64_t>(begin), static_cast<int64_t>(run_bytes)};
}

class HostExchange {
 public:
  HostExchange(Communicator& communicator, const std::vector<Transfer>& transfers, int latest,
               const TransferOptions& options)
      : communicator_(communicator),
        transfers_(transfers),
        buckets_(plan_buckets_of(transfers, exchanged_at_once(at::kCPU, options))),
        rounds_(transfers, buckets_, communicator.rank(), latest),
        sources_(transfers, buckets_),
        prefetch_(transfers, buckets_, communicator.rank()),
        failure_(communicator.rank(), options.phase),
        progress_(buckets_, options, failure_) {}

  /// Makes the memory for what is on its way, before anything is.
  void allocate() {
    size_t sent = 0;
    size_t received = 0;
    for (size_t i = 0; i < rounds_.count(); ++i) {
      const ExchangeRound round = rounds_.at(i);
      if (!only_run(round.sends, transfers_)) sent = std::max(sent, bytes_of(round.sends));
      if (!run_to_place(round)) received = std::max(received, bytes_of(round.receives));
    }
    for (InFlight& slot : in_flight_) {
      slot.outgoing = at::empty({static_cast<int64_t>(sent)}, at::kByte);
      slot.incoming = at::empty({static_cast<int64_t>(received)}, at::kByte);
    }
  }

  TransferResult run() {
    keep_in_flight(
        rounds_.count(), kSlots, [this](size_t i) { start(i); }, [this](size_t i) { finish(i); });
    return {progress_.bytes(), failure_.info()};
  }

 private:
  static constexpr size_t kSlots = kRoundsInFlight;

  struct InFlight {
    at::Tensor outgoing;  ///< for what is packed
    at::Tensor incoming;  ///< for what is unpacked
    ExchangeRound round;
    Exchange buffers;  ///< of the exchange: here, or where the bytes lie
    bool is_received_in_place = false;
    std::unique_ptr<PendingOperation> exchange;
  };

  const Transfer& transfer_of(const RoutedPiece& routed) const {
    return transfers_[routed.piece->transfer];
  }

  void start(size_t number) {
    InFlight& slot = in_flight_[number % kSlots];
    if (number < buckets_.size()) prefetch_.advance(number);
    slot.round = rounds_.at(number);
    slot.buffers = {outgoing(slot), parcels_of(slot.round.sends), incoming(slot),
                    parcels_of(slot.round.receives)};
    slot.exchange = communicator_.start_exchange(slot.buffers, rounds_.name_of(number));
    // A rank's own part is copied while the others' travel.
    for (const RoutedPiece& routed : slot.round.kept) {
      failure_.guard(transfer_of(routed).name, [&] { keep(routed); });
    }
    if (number < buckets_.size()) sources_.drop_after(number);
  }

  /// What is sent: where it lies, or packed.
  at::Tensor outgoing(const InFlight& slot) {
    const size_t bytes = bytes_of(slot.round.sends);
    if (const auto run = only_run(slot.round.sends, transfers_)) {
      at::Tensor found;
      failure_.guard(transfer_of(run->routed).name, [&] { found = find(*run, bytes); });
      // Where that failed, what travels is of no use.
      return found.defined() ? found : at::zeros({static_cast<int64_t>(bytes)}, at::kByte);
    }
    auto* to = static_cast<std::byte*>(slot.outgoing.mutable_data_ptr());
    for (const PeerPieces& peer : slot.round.sends) {
      for (const RoutedPiece& routed : peer.pieces) {
        failure_.guard(transfer_of(routed).name, [&] { pack(routed, to + routed.offset); });
      }
      to += peer.bytes;
    }
    return part(slot.outgoing, 0, bytes);
  }

  at::Tensor find(const OnlyRun& run, size_t bytes) {
    const Transfer& transfer = transfer_of(run.routed);
    const at::Tensor* const source = source_of(run.routed);
    if (source == nullptr) return in_destination(run, bytes);
    const auto begin = static_cast<size_t>(place_in_source(run.block, transfer).first);
    return part(*source, begin, bytes);
  }

  /// Null where its place holds the values: it is passed on, or was put there.
  const at::Tensor* source_of(const RoutedPiece& routed) {
    if (routed.route->rounds_later > 0) return nullptr;
    sources_.open(routed.piece->transfer);
    return sources_.wire(routed.piece->transfer);
  }

  at::Tensor in_destination(const OnlyRun& run, size_t bytes) const {
    const Transfer& transfer = transfer_of(run.routed);
    const auto begin = static_cast<size_t>(place_in_destination(run.block, transfer).first);
    return part(transfer.destination, begin, bytes);
  }

  /// What is received as it is stored, in one place.
  std::optional<OnlyRun> run_to_place(const ExchangeRound& round) const {
    auto run = only_run(round.receives, transfers_);
    if (run && cast_of(*run->routed.route, transfer_of(run->routed))) run.reset();
    return run;
  }

  at::Tensor incoming(InFlight& slot) const {
    const size_t bytes = bytes_of(slot.round.receives);
    const auto run = run_to_place(slot.round);
    slot.is_received_in_place = run.has_value();
    if (!run) return part(slot.incoming, 0, bytes);
    at::Tensor place = in_destination(*run, bytes);
    populate_pages(place.mutable_data_ptr(), bytes);
    return place;
  }

  void pack(const RoutedPiece& routed, std::byte* to) {
    const Transfer& transfer = transfer_of(routed);
    const size_t element_bytes = element_bytes_of(*routed.route, transfer);
    const at::Tensor* const source = source_of(routed);
    const auto* const from = static_cast<const std::byte*>(
        (source == nullptr ? transfer.destination : *source).const_data_ptr());
    size_t begin = 0;
    for_each_block(routed, transfer, [&](const Block& block) {
      const size_t run_bytes = static_cast<size_t>(block.length) * element_bytes;
      const Place place = source == nullptr ? place_in_destination(block, transfer)
                                            : place_in_source(block, transfer);
      copy_runs(to, in_a_row(begin, run_bytes), from, place, block, run_bytes);
      begin += run_bytes * static_cast<size_t>(block.count);
    });
  }

  void keep(const RoutedPiece& routed) {
    const Transfer& transfer = transfer_of(routed);
    const at::Tensor* const source = source_of(routed);
    if (source == nullptr) return;
    const auto* const from = static_cast<const std::byte*>(source->const_data_ptr());
    const auto* file = std::get_if<InFile>(&transfer.source);
    for_each_block(routed, transfer, [&](const Block& block) {
      const size_t run_bytes = static_cast<size_t>(block.length) * transfer.cut->element_bytes;
      if (file != nullptr && run_bytes >= kInPlaceBytes) {
        read_runs(*file, block, transfer);
      } else {
        land(routed, block, from, place_in_source(block, transfer));
      }
    });
  }

  /// Straight from the file: that costs no faults in its mapping.
  static void read_runs(const InFile& file, const Block& block, const Transfer& transfer) {
    auto* const to = static_cast<std::byte*>(transfer.destination.mutable_data_ptr());
    const size_t bytes = static_cast<size_t>(block.length) * transfer.cut->element_bytes;
    const Place there = place_in_destination(block, transfer);
    const Place here = place_in_source(block, transfer);
    for (int64_t run = 0; run < block.count; ++run) {
      std::byte* const place = to + there.first + run * there.step;
      populate_pages(place, bytes);
      file.bytes->read(static_cast<size_t>(here.first + run * here.step), {place, bytes});
    }
  }

  void unpack(const RoutedPiece& routed, const std::byte* from) {
    const Transfer& transfer = transfer_of(routed);
    const size_t element_bytes = element_bytes_of(*routed.route, transfer);
    size_t begin = 0;
    for_each_block(routed, transfer, [&](const Block& block) {
      const size_t run_bytes = static_cast<size_t>(block.length) * element_bytes;
      land(routed, block, from, in_a_row(begin, run_bytes));
      begin += run_bytes * static_cast<size_t>(block.count);
    });
  }

  void land(const RoutedPiece& routed, const Block& block, const std::byte* from,
            const Place& here) {
    const Transfer& transfer = transfer_of(routed);
    auto* const to = static_cast<std::byte*>(transfer.destination.mutable_data_ptr());
    const Place there = place_in_destination(block, transfer);
    const auto cast = cast_of(*routed.route, transfer);
    if (cast) {
      runs(to, there, block, cast->stored)
          .copy_(runs(const_cast<std::byte*>(from), here, block, cast->wire));
    } else {
      copy_runs(to, there, from, here, block,
                static_cast<size_t>(block.length) * transfer.cut->element_bytes);
    }
  }

  /// Nothing of a bucket is sent from its sources twice.
  void forget_mapping(size_t number) const {
    for (const Piece& piece : buckets_[number].pieces) {
      const auto* file = std::get_if<InFile>(&transfers_[piece.transfer].source);
      if (file != nullptr) file->bytes->forget(piece.wire_begin, piece.wire_bytes);
    }
  }

  void finish(size_t number) {
    InFlight& slot = in_flight_[number % kSlots];
    slot.exchange->wait();
    slot.buffers = {};
    if (number < buckets_.size()) {
      forget_mapping(number);
      progress_.add(buckets_[number].bytes);
    }
    if (slot.is_received_in_place) return;
    const auto* from = static_cast<const std::byte*>(slot.incoming.const_data_ptr());
    for (const PeerPieces& peer : slot.round.receives) {
      for (const RoutedPiece& routed : peer.pieces) {
        failure_.guard(transfer_of(routed).name, [&] { unpack(routed, from + routed.offset); });
      }
      from += peer.bytes;
    }
  }

  Communicator& communicator_;
  const std::vector<Transfer>& transfers_;
  std::vector<Bucket> buckets_;
  ExchangeRounds rounds_;
  OpenSources sources_;
  Prefetch prefetch_;
  FirstFailure failure_;
  StreamProgress progress_;
  std::array<InFlight, kSlots> in_flight_;
};

}  // namespace

TransferResult exchange_on_host(Communicator& communicator, const std::vector<Transfer>& transfers,
                                int latest, const TransferOptions& options) {
  const at::NoGradGuard no_grad;
  std::unique_ptr<HostExchange> exchange;
  run_agreed(communicator, options.phase, ErrorCode::kMemory, [&] {
    exchange = std::make_unique<HostExchange>(communicator, transfers, latest, options);
    exchange->allocate();
  });
  // Who sends may wait for its disk for long.
  const auto work = communicator.begin_work(options.phase);
  return run_or_abandon(communicator, options.phase, [&] { return exchange->run(); });
}

}  // namespace fakescore::detail
