#include "comm/store_messages.hpp"

#include <cstring>
#include <vector>

namespace fakescore::detail {
namespace {

using Bytes = std::vector<uint8_t>;

std::string chunk_key(const std::string& key, size_t index) {
  std::string chunk = key;
  chunk.append(".").append(std::to_string(index));
  return chunk;
}

size_t chunk_count(size_t message_bytes) {
  return message_bytes == 0 ? 1 : (message_bytes + kStoreChunkBytes - 1) / kStoreChunkBytes;
}

}  // namespace

std::string first_chunk_key(const std::string& key) { return chunk_key(key, 0); }

void put_message(c10d::Store& store, const std::string& key, const std::string& message) {
  // The first chunk goes last: once it is there, the others are.
  for (size_t index = chunk_count(message.size()); index-- > 0;) {
    const uint64_t total = message.size();
    const std::string part = message.substr(index * kStoreChunkBytes, kStoreChunkBytes);
    Bytes value(sizeof(total) + part.size());
    std::memcpy(value.data(), &total, sizeof(total));
    std::memcpy(value.data() + sizeof(total), part.data(), part.size());
    store.set(chunk_key(key, index), value);
  }
}

std::string get_message(c10d::Store& store, const std::string& key) {
  std::string message;
  uint64_t total = 0;
  for (size_t index = 0; index < chunk_count(total); ++index) {
    const Bytes value = store.get(chunk_key(key, index));
    std::memcpy(&total, value.data(), sizeof(total));
    message.append(reinterpret_cast<const char*>(value.data()) + sizeof(total),
                   value.size() - sizeof(total));
  }
  return message;
}

void delete_message(c10d::Store& store, const std::string& key, size_t message_bytes) {
  for (size_t index = 0; index < chunk_count(message_bytes); ++index) {
    store.deleteKey(chunk_key(key, index));
  }
}

}  // namespace fakescore::detail
