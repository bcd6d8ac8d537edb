#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <memory>
#include <string>

#include "fakescore/comm/communicator.hpp"

namespace c10d {
class Store;
}

namespace fakescore::detail {

/// As the public function; `serves` says that this process holds the store's server, which must not
/// vanish before the other ranks have read their last message.
std::unique_ptr<Communicator> make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                      int rank, int world_size,
                                                      const std::string& key_prefix,
                                                      std::chrono::milliseconds timeout,
                                                      bool serves);

}  // namespace fakescore::detail
