#include "transfer/transfer.hpp"

namespace fakescore::detail {

const FileBytes* file_of(const Transfer& transfer, const Bucket& bucket) {
  const auto* source = std::get_if<InFile>(&transfer.source);
  return bucket.in_place && source != nullptr ? source->bytes.get() : nullptr;
}

std::vector<Bucket> plan_buckets_of(const std::vector<Transfer>& transfers, size_t bucket_bytes) {
  std::vector<TransferLayout> layouts;
  layouts.reserve(transfers.size());
  for (const Transfer& transfer : transfers) layouts.push_back(transfer.layout);
  return plan_buckets(layouts, bucket_bytes);
}

}  // namespace fakescore::detail
