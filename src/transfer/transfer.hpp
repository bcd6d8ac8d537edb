#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/error.hpp"
#include "fakescore/transfer/progress.hpp"
#include "transfer/bucket_plan.hpp"
#include "transfer/cut.hpp"
#include "transfer/source.hpp"

namespace fakescore::detail {

/// One storage to fill.
struct Transfer {
  std::string name;  ///< of its first tensor, for errors
  TransferLayout layout;
  at::Tensor destination;  ///< the storage as 1-D uint8
  Source source;
  /// Where the layout is that of a whole tensor (TransferLayout::is_cut), who gets what of it.
  std::optional<Cut> cut = std::nullopt;
  /// Of a fill: the index of its group in the plan.
  size_t group = 0;
  /// Of a fill: on the wire, of all of the tensor, which is the same on every rank.
  size_t whole_bytes = 0;
};

struct TransferOptions {
  size_t bucket_bytes = 0;
  size_t pinned_bytes = 0;
  std::string phase;
  ProgressCallback progress;
};

struct TransferResult {
  uint64_t bytes = 0;  ///< on the wire
  /// This rank's first failure. The stream went on to its end all the same, so that the other
  /// ranks are not left waiting; what arrived is of no use.
  std::optional<ErrorInfo> failure;
};

/// The file in which a bucket's only stretch, of `transfer`, lies as it is stored; null where there
/// is none.
const FileBytes* file_of(const Transfer& transfer, const Bucket& bucket);

std::vector<Bucket> plan_buckets_of(const std::vector<Transfer>& transfers, size_t bucket_bytes);

}  // namespace fakescore::detail
