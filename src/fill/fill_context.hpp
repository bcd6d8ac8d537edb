#pragma once

#include "fakescore/comm/communicator.hpp"
#include "fakescore/fill/fill_options.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// What every phase of one call of fill_tensors is given.
struct FillContext {
  Communicator& communicator;
  const FillOptions& options;
  at::Device device;  ///< of the filled tensors

  bool is_root() const { return communicator.rank() == options.root; }
  TransferOptions transfer_options(const std::string& phase) const;
};

}  // namespace fakescore::detail
