#include "transfer/copy_transfers.hpp"

#include <ATen/core/grad_mode.h>

#include "transfer/first_failure.hpp"
#include "transfer/land.hpp"
#include "transfer/open_sources.hpp"
#include "transfer/populate.hpp"
#include "transfer/stream_progress.hpp"

namespace fakescore::detail {
namespace {

void read_into_place(const FileBytes& file, const Transfer& transfer, const Piece& piece) {
  std::byte* to = stored_bytes(transfer, piece);
  populate_pages(to, piece.stored_bytes);
  file.read(piece.wire_begin, {to, piece.stored_bytes});
}

void copy_into_place(const at::Tensor& wire, const Transfer& transfer, const Piece& piece) {
  populate_if_large(transfer, piece);
  land(transfer, piece, static_cast<const std::byte*>(wire.const_data_ptr()) + piece.wire_begin);
}

TransferResult copy_all(const std::vector<Transfer>& transfers, int rank,
                        const TransferOptions& options) {
  const std::vector<Bucket> buckets = plan_buckets_of(transfers, options.bucket_bytes);
  OpenSources sources(transfers, buckets);
  FirstFailure failure(rank, options.phase);
  StreamProgress progress(buckets, options, failure);
  for (size_t i = 0; i < buckets.size(); ++i) {
    for (const Piece& piece : buckets[i].pieces) {
      const Transfer& transfer = transfers[piece.transfer];
      failure.guard(transfer.name, [&] {
        if (const FileBytes* file = file_of(transfer, buckets[i])) {
          read_into_place(*file, transfer, piece);
          return;
        }
        sources.open(piece.transfer);
        const at::Tensor* wire = sources.wire(piece.transfer);
        if (wire != nullptr) copy_into_place(*wire, transfer, piece);
      });
    }
    sources.drop_after(i);
    progress.add(buckets[i].bytes);
  }
  return {progress.bytes(), failure.info()};
}

}  // namespace

TransferResult copy_transfers(const std::vector<Transfer>& transfers, int rank,
                              const TransferOptions& options) {
  const at::NoGradGuard no_grad;
  try {
    return copy_all(transfers, rank, options);
  } catch (...) {
    return {0, describe_current_exception(rank, options.phase)};
  }
}

}  // namespace fakescore::detail
