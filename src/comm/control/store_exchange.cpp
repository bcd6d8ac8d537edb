// An exchange through a store, in chunks. Each chunk has one reader, which deletes it, so that its
// writer sees by its oldest chunk how far ahead it is.
#include <algorithm>
#include <cstring>

#include "comm/control/chunked_parcel.hpp"
#include "comm/control/store_frame.hpp"
#include "comm/control/store_planes.hpp"

namespace fakescore::detail {
namespace {

using Bytes = std::vector<uint8_t>;

/// Of one rank's chunks, the most that lie in the store unread.
constexpr size_t kMostUnread = 1024;
constexpr size_t kMostUnreadBytes = 8 * size_t{kStoreChunk};

/// Nothing is left to wait for: the exchange ended where it began.
class EndedExchange : public PendingOperation {
 public:
  void wait() override {}
};

void drop_finished(std::vector<ChunkedParcel>& parcels) {
  std::erase_if(parcels, [](const ChunkedParcel& parcel) { return parcel.finished(); });
}

/// `way_of` says what the keys of a parcel with a rank begin with.
template <typename WayOf>
std::vector<ChunkedParcel> in_chunks(const at::Tensor& buffer, const std::vector<Parcel>& parcels,
                                     WayOf way_of) {
  std::vector<ChunkedParcel> chunked;
  auto* data = static_cast<uint8_t*>(buffer.mutable_data_ptr());
  for (const Parcel& parcel : parcels) {
    chunked.push_back({way_of(parcel.rank), parcel.rank, data, parcel.bytes, 0});
    data += parcel.bytes;
  }
  drop_finished(chunked);
  return chunked;
}

}  // namespace

std::unique_ptr<PendingOperation> StorePlanes::start_exchange(const Exchange& exchange,
                                                              const std::string& what) {
  require_healthy();
  const Step step = require_exchange(exchange, what);
  // Operations end in their order.
  drop_finished();
  if (!pending_.empty()) finish(pending_.back());
  const auto way = [call = prefix_ + std::to_string(next_++) + "/"](int from, int to) {
    return call + std::to_string(from) + ">" + std::to_string(to) + ".";
  };
  auto sends =
      in_chunks(exchange.outgoing, exchange.sends, [&](int to) { return way(rank(), to); });
  auto receives =
      in_chunks(exchange.incoming, exchange.receives, [&](int from) { return way(from, rank()); });
  Deadline deadline(timeout());
  while (!sends.empty() || !receives.empty()) {
    bool has_moved = false;
    for (ChunkedParcel& parcel : sends) has_moved = send_chunk(parcel, step) || has_moved;
    for (ChunkedParcel& parcel : receives) has_moved = receive_chunk(parcel, step) || has_moved;
    detail::drop_finished(sends);
    detail::drop_finished(receives);
    if (has_moved) {
      deadline.renew(timeout());
    } else {
      await_chunk(sends, receives, step, deadline);
    }
  }
  return std::make_unique<EndedExchange>();
}

bool StorePlanes::send_chunk(ChunkedParcel& parcel, const Step& step) {
  if (unread_parcels_.size() >= kMostUnread || unread_bytes_ >= kMostUnreadBytes) {
    const std::string oldest = unread_parcels_.front().key;
    if (compute<bool>([oldest](c10d::Store& s) { return s.check({oldest}); })) return false;
    unread_bytes_ -= unread_parcels_.front().bytes;
    unread_parcels_.pop_front();
  }
  const std::string key = parcel.key();
  operate([key, value = pack(step, parcel.chunk_data(), parcel.chunk_bytes())](c10d::Store& s) {
    s.set(key, value);
  });
  unread_parcels_.push_back({key, parcel.chunk_bytes()});
  unread_bytes_ += parcel.chunk_bytes();
  ++parcel.next_chunk;
  return true;
}

bool StorePlanes::receive_chunk(ChunkedParcel& parcel, const Step& step) {
  const auto value = compute<std::optional<Bytes>>([key = parcel.key()](c10d::Store& s) {
    std::optional<Bytes> found;
    if (!s.check({key})) return found;
    found = s.get(key);
    s.deleteKey(key);
    return found;
  });
  if (!value) return false;
  const Frame frame = unpack(*value);
  require_same(parcel.rank, frame.step, step);
  if (frame.payload.size() != parcel.chunk_bytes()) {
    publish(different_parcels(parcel.rank, rank(), static_cast<size_t>(parcel.bytes), step));
  }
  std::memcpy(parcel.chunk_data(), frame.payload.data(), frame.payload.size());
  ++parcel.next_chunk;
  return true;
}

/// Until a chunk is there, or there is room for one.
void StorePlanes::await_chunk(const std::vector<ChunkedParcel>& sends,
                              const std::vector<ChunkedParcel>& receives, const Step& step,
                              Deadline& deadline) {
  std::vector<std::string> keys;
  for (const ChunkedParcel& parcel : receives) keys.push_back(parcel.key());
  const std::string oldest = sends.empty() ? "" : unread_parcels_.front().key;
  await(
      [keys, oldest](c10d::Store& s) {
        if (!oldest.empty() && !s.check({oldest})) return true;
        return std::any_of(keys.begin(), keys.end(),
                           [&](const std::string& key) { return s.check({key}); });
      },
      step, deadline);
}

}  // namespace fakescore::detail
