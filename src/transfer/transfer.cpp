#include "transfer/transfer.hpp"

#include "fakescore/error.hpp"

namespace fakescore::detail {

const FileBytes* file_of(const Transfer& transfer, const Bucket& bucket) {
  const auto* source = std::get_if<InFile>(&transfer.source);
  return bucket.in_place && source != nullptr ? source->bytes.get() : nullptr;
}

std::vector<Bucket> plan_for_all_ranks(const std::vector<Transfer>& transfers,
                                       size_t bucket_bytes) {
  std::vector<TransferLayout> layouts;
  layouts.reserve(transfers.size());
  for (const Transfer& transfer : transfers) layouts.push_back(transfer.layout);
  std::vector<Bucket> buckets = plan_buckets(layouts, bucket_bytes);
  for (const Bucket& bucket : buckets) {
    if (bucket.ranks.is_all()) continue;
    throw InternalError(transfers[bucket.pieces.front().transfer].name,
                        "lands on some ranks only, which no pipeline moves", "report it");
  }
  return buckets;
}

}  // namespace fakescore::detail
