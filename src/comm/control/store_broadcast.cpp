// Bulk data through a store, in chunks. So that few lie there unread, each reader
// counts itself once for a window of chunks, and the root is at most two windows ahead of what all
// have read.
#include <algorithm>
#include <cstring>

#include "comm/control/store_frame.hpp"
#include "comm/control/store_planes.hpp"

namespace fakescore::detail {
namespace {

using Bytes = std::vector<uint8_t>;

// Chunks of one window: the fewer, the less lies in the store; the more, the less is counted.
constexpr int64_t kWindow = 4;

class StoreBroadcast : public PendingOperation {
 public:
  StoreBroadcast(StorePlanes& planes, std::shared_ptr<ChunkedBroadcast> broadcast)
      : planes_(planes), broadcast_(std::move(broadcast)) {}
  void wait() override {
    if (!broadcast_->finished()) planes_.finish(broadcast_);
  }

 private:
  StorePlanes& planes_;
  std::shared_ptr<ChunkedBroadcast> broadcast_;
};

}  // namespace

std::unique_ptr<PendingOperation> StorePlanes::start_broadcast(const at::Tensor& buffer, int root,
                                                               const std::string& what) {
  require_healthy();
  require_broadcast(buffer, root, what);
  auto broadcast = std::make_shared<ChunkedBroadcast>();
  broadcast->number = next_++;
  broadcast->step = {CallKind::kBroadcast, root, buffer.numel(), what};
  broadcast->buffer = buffer;
  if (world_size() == 1) {
    broadcast->next_chunk = broadcast->chunks();
    return std::make_unique<StoreBroadcast>(*this, broadcast);
  }
  drop_finished();
  const bool first = pending_.empty();
  pending_.push_back(broadcast);
  if (rank() == root) announce(*broadcast);
  if (first && rank() == root) {
    Deadline deadline(timeout());
    while (!broadcast->finished() && send_chunk(*broadcast, false, deadline))
      deadline.renew(timeout());
  }
  return std::make_unique<StoreBroadcast>(*this, broadcast);
}

/// Where all others meet in this call instead, this says so to them.
void StorePlanes::announce(const ChunkedBroadcast& broadcast) {
  const StoreMeeting meeting = meeting_of(broadcast.number);
  if (arrive_at(meeting, {rank(), broadcast.step, false, "", 0})) lead(meeting, broadcast.step);
}

std::string StorePlanes::window_key(int root, int64_t window) const {
  return prefix_ + "read/" + std::to_string(root) + "/" + std::to_string(epoch_) + "/" +
         std::to_string(window);
}

/// Whether one more chunk may lie in the store.
bool StorePlanes::has_room(const Step& step, bool may_wait, Deadline& deadline) {
  const int64_t window = sent_ / kWindow - 2;
  if (window < 0 || sent_ % kWindow != 0) return true;
  const std::string key = window_key(rank(), window);
  const Question is_read = [key, readers = world_size() - 1](c10d::Store& s) {
    return s.add(key, 0) >= readers;
  };
  if (may_wait) {
    await(is_read, step, deadline);
  } else if (!compute<bool>(is_read)) {
    return false;
  }
  std::vector<std::string> read{key};
  for (int i = 0; i < kWindow; ++i) {
    read.insert(read.end(), unread_.front().begin(), unread_.front().end());
    unread_.pop_front();
  }
  delete_keys(std::move(read));
  return true;
}

bool StorePlanes::send_chunk(ChunkedBroadcast& broadcast, bool may_wait, Deadline& deadline) {
  if (!has_room(broadcast.step, may_wait, deadline)) return false;
  // Its number travels in the frame's tail.
  Bytes packed = pack(broadcast.step, broadcast.chunk_data(), broadcast.chunk_bytes());
  const uint8_t* number = reinterpret_cast<const uint8_t*>(&sent_);
  packed.insert(packed.end(), number, number + sizeof sent_);
  const std::string key = prefix_ + broadcast.key();
  unread_.push_back({key});
  if (broadcast.next_chunk == 0) {
    // Until then others may come to meet in this call.
    const StoreMeeting announced = meeting_of(broadcast.number);
    unread_.back().insert(unread_.back().end(), {announced.arrivals(), announced.count()});
  }
  ++sent_;
  ++broadcast.next_chunk;
  operate([key, value = std::move(packed)](c10d::Store& s) { s.set(key, value); });
  return true;
}

void StorePlanes::receive_chunk(ChunkedBroadcast& broadcast, Deadline& deadline) {
  const std::string key = prefix_ + broadcast.key();
  const auto value = std::make_shared<Bytes>();
  await(
      [key, value](c10d::Store& s) {
        if (!s.check({key})) return false;
        *value = s.get(key);
        return true;
      },
      broadcast.step, deadline);
  const Frame frame = unpack(*value);
  require_same(broadcast.step.root, frame.step, broadcast.step);
  int64_t number = 0;
  const size_t bytes = broadcast.chunk_bytes();
  if (frame.payload.size() != bytes + sizeof number) lose_store();
  if (bytes > 0) std::memcpy(broadcast.chunk_data(), frame.payload.data(), bytes);
  std::memcpy(&number, frame.payload.data() + bytes, sizeof number);
  ++broadcast.next_chunk;
  if ((number + 1) % kWindow != 0) return;
  operate([window = window_key(broadcast.step.root, number / kWindow)](c10d::Store& s) {
    s.add(window, 1);
  });
}

void StorePlanes::finish(const std::shared_ptr<ChunkedBroadcast>& last) {
  require_healthy();
  Deadline deadline(timeout());
  while (!last->finished()) {
    ChunkedBroadcast& broadcast = *pending_.front();
    while (!broadcast.finished()) {
      if (rank() == broadcast.step.root) {
        send_chunk(broadcast, true, deadline);
      } else {
        receive_chunk(broadcast, deadline);
      }
      deadline.renew(timeout());  // a chunk that moved is progress
    }
    drop_finished();
  }
}

void StorePlanes::drop_finished() {
  while (!pending_.empty() && pending_.front()->finished()) pending_.pop_front();
}

void StorePlanes::delete_keys(std::vector<std::string> keys) {
  operate([keys = std::move(keys)](c10d::Store& s) {
    for (const std::string& key : keys) s.deleteKey(key);
  });
}

/// Of chunks that may still be there, and of the windows that count their readers.
std::vector<std::string> StorePlanes::keys_of_chunks() const {
  std::vector<std::string> keys;
  for (const auto& chunk : unread_) keys.insert(keys.end(), chunk.begin(), chunk.end());
  const int64_t first = (sent_ - static_cast<int64_t>(unread_.size())) / kWindow;
  for (int64_t window = first; window * kWindow < sent_; ++window) {
    keys.push_back(window_key(rank(), window));
  }
  return keys;
}

/// Every rank has read all chunks.
void StorePlanes::forget_chunks() {
  if (!unread_.empty()) delete_keys(keys_of_chunks());
  unread_.clear();
  sent_ = 0;
  ++epoch_;
}

}  // namespace fakescore::detail
