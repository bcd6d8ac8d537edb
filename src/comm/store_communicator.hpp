#pragma once

#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// Who serves the store, for errors and for the end of the job.
struct StoreServer {
  std::string name = "the store";  ///< "rank 0's store", "torchrun's store"
  int rank = -1;                   ///< the rank that serves it; -1 where none does
};

std::unique_ptr<Communicator> make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                      int rank, int world_size,
                                                      const std::string& key_prefix,
                                                      std::chrono::milliseconds timeout,
                                                      StoreServer server);

}  // namespace fakescore::detail
