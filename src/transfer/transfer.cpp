#include "transfer/transfer.hpp"

namespace fakescore::detail {

std::vector<TransferLayout> layouts_of(const std::vector<Transfer>& transfers) {
  std::vector<TransferLayout> layouts;
  layouts.reserve(transfers.size());
  for (const Transfer& transfer : transfers) layouts.push_back(transfer.layout);
  return layouts;
}

}  // namespace fakescore::detail
