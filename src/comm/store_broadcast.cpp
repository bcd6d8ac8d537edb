// Bulk data through a store, in chunks. So that few lie there unread, each reader counts itself
// once for a window of chunks, and the root is at most two windows ahead of what all have read.
#include <algorithm>
#include <cstring>

#include "comm/store_communicator.hpp"
#include "comm/store_frame.hpp"

namespace fakescore::detail {
namespace {

using Bytes = std::vector<uint8_t>;

// Chunks of one window: the fewer, the less lies in the store; the more, the less is counted.
constexpr int64_t kWindow = 4;

class StoreBroadcast : public PendingBroadcast {
 public:
  StoreBroadcast(StoreCommunicator& communicator, std::shared_ptr<Bulk> bulk)
      : communicator_(communicator), bulk_(std::move(bulk)) {}
  void wait() override {
    if (!bulk_->finished()) communicator_.finish(bulk_);
  }

 private:
  StoreCommunicator& communicator_;
  std::shared_ptr<Bulk> bulk_;
};

}  // namespace

std::unique_ptr<PendingBroadcast> StoreCommunicator::start_broadcast(const at::Tensor& buffer,
                                                                     int root,
                                                                     const std::string& what) {
  require_healthy();
  require_root(root, what);
  require_buffer(buffer, device(), what);
  auto bulk = std::make_shared<Bulk>();
  bulk->number = next_++;
  bulk->step = {CallKind::kBroadcast, root, buffer.numel(), what};
  bulk->buffer = buffer;
  if (world_size() == 1) {
    bulk->next_chunk = bulk->chunks();
    return std::make_unique<StoreBroadcast>(*this, bulk);
  }
  drop_finished();
  const bool first = pending_.empty();
  pending_.push_back(bulk);
  if (rank() == root) announce(*bulk);
  if (first && rank() == root) {
    Deadline deadline(timeout());
    while (!bulk->finished() && send_chunk(*bulk, false, deadline)) deadline.renew(timeout());
  }
  return std::make_unique<StoreBroadcast>(*this, bulk);
}

/// Where all others meet in this call instead, this says so to them.
void StoreCommunicator::announce(const Bulk& bulk) {
  const StoreMeeting meeting = meeting_of(bulk.number);
  if (arrive_at(meeting, {rank(), bulk.step, false, "", 0})) lead(meeting, bulk.step);
}

std::string StoreCommunicator::window_key(int root, int64_t window) const {
  return prefix_ + "read/" + std::to_string(root) + "/" + std::to_string(epoch_) + "/" +
         std::to_string(window);
}

/// Whether one more chunk may lie in the store.
bool StoreCommunicator::has_room(const Step& step, bool may_wait, Deadline& deadline) {
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

bool StoreCommunicator::send_chunk(Bulk& bulk, bool may_wait, Deadline& deadline) {
  if (!has_room(bulk.step, may_wait, deadline)) return false;
  // Its number travels in the frame's tail.
  Bytes packed = pack(bulk.step, bulk.chunk_data(), bulk.chunk_bytes());
  const uint8_t* number = reinterpret_cast<const uint8_t*>(&sent_);
  packed.insert(packed.end(), number, number + sizeof sent_);
  const std::string key = prefix_ + bulk.key();
  unread_.push_back({key});
  if (bulk.next_chunk == 0) {
    // Until then others may come to meet in this call.
    const StoreMeeting announced = meeting_of(bulk.number);
    unread_.back().insert(unread_.back().end(), {announced.arrivals(), announced.count()});
  }
  ++sent_;
  ++bulk.next_chunk;
  operate([key, value = std::move(packed)](c10d::Store& s) { s.set(key, value); });
  return true;
}

void StoreCommunicator::receive_chunk(Bulk& bulk, Deadline& deadline) {
  const std::string key = prefix_ + bulk.key();
  const auto value = std::make_shared<Bytes>();
  await(
      [key, value](c10d::Store& s) {
        if (!s.check({key})) return false;
        *value = s.get(key);
        return true;
      },
      bulk.step, deadline);
  const Frame frame = unpack(*value);
  require_same(bulk.step.root, frame.step, bulk.step);
  int64_t number = 0;
  const size_t bytes = bulk.chunk_bytes();
  if (frame.payload.size() != bytes + sizeof number) lose_store();
  if (bytes > 0) std::memcpy(bulk.chunk_data(), frame.payload.data(), bytes);
  std::memcpy(&number, frame.payload.data() + bytes, sizeof number);
  ++bulk.next_chunk;
  if ((number + 1) % kWindow != 0) return;
  operate([window = window_key(bulk.step.root, number / kWindow)](c10d::Store& s) {
    s.add(window, 1);
  });
}

void StoreCommunicator::finish(const std::shared_ptr<Bulk>& last) {
  require_healthy();
  Deadline deadline(timeout());
  while (!last->finished()) {
    Bulk& bulk = *pending_.front();
    while (!bulk.finished()) {
      if (rank() == bulk.step.root) {
        send_chunk(bulk, true, deadline);
      } else {
        receive_chunk(bulk, deadline);
      }
      deadline.renew(timeout());  // a chunk that moved is progress
    }
    drop_finished();
  }
}

void StoreCommunicator::drop_finished() {
  while (!pending_.empty() && pending_.front()->finished()) pending_.pop_front();
}

void StoreCommunicator::delete_keys(std::vector<std::string> keys) {
  operate([keys = std::move(keys)](c10d::Store& s) {
    for (const std::string& key : keys) s.deleteKey(key);
  });
}

/// Of chunks that may still be there, and of the windows that count their readers.
std::vector<std::string> StoreCommunicator::keys_of_chunks() const {
  std::vector<std::string> keys;
  for (const auto& chunk : unread_) keys.insert(keys.end(), chunk.begin(), chunk.end());
  const int64_t first = (sent_ - static_cast<int64_t>(unread_.size())) / kWindow;
  for (int64_t window = first; window * kWindow < sent_; ++window) {
    keys.push_back(window_key(rank(), window));
  }
  return keys;
}

/// Every rank has read all chunks.
void StoreCommunicator::forget_chunks() {
  if (!unread_.empty()) delete_keys(keys_of_chunks());
  unread_.clear();
  sent_ = 0;
  ++epoch_;
}

}  // namespace fakescore::detail
