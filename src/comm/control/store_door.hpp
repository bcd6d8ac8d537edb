#pragma once

#include <chrono>
#include <string>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace fakescore::detail {

/// Where a job's TCPStore is.
struct StoreAddress {
  std::string host;
  int port = 0;
  bool is_server = false;  ///< this process serves it
  int server_rank = -1;    ///< which rank does; -1 where the launcher does
  std::string remedy;      ///< what to do where it cannot be served or reached
};

/// Joins the store once it answers, within the timeout. Whatever can go wrong is tried with plain
/// sockets first: c10d would print stack frames, and wait for what does not answer without a
/// deadline. Throws CommError naming host and port where the name cannot be resolved, nobody
/// listens there, what listens is no TCPStore, or the port to serve on is taken.
c10::intrusive_ptr<c10d::TCPStore> join_tcp_store(const StoreAddress& address,
                                                  std::chrono::milliseconds timeout);

}  // namespace fakescore::detail
