#pragma once

#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace fakescore::detail {

/// A TCPStore server drops the connection of a client that sends more than 8 MiB at once.
inline constexpr size_t kStoreChunkBytes = size_t{1} << 20;

/// Puts a message of any length under keys that begin with `key`, in chunks.
void put_message(c10d::Store& store, const std::string& key, const std::string& message);

/// The message that `put_message` put there; blocks until its first chunk is there, up to the
/// store's own timeout.
std::string get_message(c10d::Store& store, const std::string& key);

/// The key that is there once a message's first chunk is.
std::string first_chunk_key(const std::string& key);

void delete_message(c10d::Store& store, const std::string& key, size_t message_bytes);

}  // namespace fakescore::detail
