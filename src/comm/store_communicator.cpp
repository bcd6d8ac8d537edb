// Ranks that share a c10d store: torchrun without MPI. Keys carry the number of the call, so that
// calls never meet each other's messages, and are deleted by the last rank that reads them.
#include <cstring>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "comm/base_communicator.hpp"
#include "comm/store_messages.hpp"
#include "comm/store_server.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace {

using detail::CallKind;
using detail::Clock;
using detail::Step;
using std::chrono::milliseconds;

/// How often a wait looks whether a peer has begun a census.
constexpr milliseconds kWaitSlice{200};
constexpr size_t kUnreadChunks = 4;
constexpr const char* kCensusKey = "census";
constexpr const char* kFarewellKey = "farewell";

std::string join(const std::string& first, const std::string& second) {
  std::string key = first;
  return key.append("/").append(second);
}

class StoreCommunicator : public detail::BaseCommunicator {
 public:
  StoreCommunicator(c10::intrusive_ptr<c10d::Store> store, int rank, int world_size,
                    milliseconds timeout, bool serves)
      : BaseCommunicator(rank, world_size, timeout), store_(std::move(store)), serves_(serves) {}
  ~StoreCommunicator() override;

  const char* backend() const noexcept override { return "store"; }
  std::vector<std::string> all_gather(const std::string& message, const std::string& what) override;
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override;
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  void receive(uint64_t first_chunk, const at::Tensor& buffer, const Step& step);

 private:
  void send(const at::Tensor& buffer, const Step& step);
  std::string read(const std::string& key, const Step& step, int sender);
  void await(const std::string& key, const Step& step);
  void forget_once_read(const std::string& key, size_t message_bytes, int readers);
  [[noreturn]] void take_census(const Step& step);

  /// Runs store calls; a store that is gone becomes a CommError.
  template <typename Calls>
  auto with_store(const Step& step, Calls calls) {
    require_healthy();
    try {
      return calls();
    } catch (const c10::Error& error) {
      fail({ErrorCode::kPeerLost, -1, "", step.what,
            std::string("the job's store is gone: ") + error.what_without_backtrace(),
            "the process that serves it (rank 0, or torchrun's agent) has ended; look at its log "
            "and start the job again"});
    }
  }

  c10::intrusive_ptr<c10d::Store> store_;
  bool serves_;
  uint64_t next_ = 0;        ///< number of the next control message
  uint64_t next_chunk_ = 0;  ///< number of the next bulk chunk
};

class StoreBroadcast : public PendingBroadcast {
 public:
  StoreBroadcast(StoreCommunicator& communicator, uint64_t first_chunk, Step step,
                 at::Tensor buffer)
      : communicator_(communicator),
        first_chunk_(first_chunk),
        step_(std::move(step)),
        buffer_(std::move(buffer)) {}

  void wait() override {
    // The root's bytes were copied into the store when the broadcast began.
    if (done_ || communicator_.rank() == step_.root) return;
    communicator_.receive(first_chunk_, buffer_, step_);
    done_ = true;
  }

 private:
  StoreCommunicator& communicator_;
  uint64_t first_chunk_;
  Step step_;
  at::Tensor buffer_;
  bool done_ = false;
};

StoreCommunicator::~StoreCommunicator() {
  if (broken() || world_size() == 1) return;
  try {
    store_->add(kFarewellKey, 1);
    const auto deadline = Clock::now() + kPeerCensus;
    while (serves_ && store_->add(kFarewellKey, 0) < world_size() && Clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(2));
    }
  } catch (const std::exception&) {
    // The store is gone already, and with it everybody to take leave of.
  }
}

void StoreCommunicator::await(const std::string& key, const Step& step) {
  const auto deadline = Clock::now() + timeout();
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    try {
      store_->wait({key}, std::clamp(left, milliseconds(1), kWaitSlice));
      return;
    } catch (const c10::DistStoreError&) {
      if (Clock::now() >= deadline || store_->check({kCensusKey})) take_census(step);
    }
  }
}

std::string StoreCommunicator::read(const std::string& key, const Step& step, int sender) {
  await(detail::first_chunk_key(key), step);
  const std::string message = detail::get_message(*store_, key);
  const size_t end_of_step = message.find('\n');
  const auto theirs = detail::parse_step(message.substr(0, end_of_step));
  if (!theirs || !(*theirs == step)) {
    fail(detail::different_steps(sender, theirs.value_or(Step{}), rank(), step, backend()));
  }
  return message;
}

void StoreCommunicator::forget_once_read(const std::string& key, size_t message_bytes,
                                         int readers) {
  const std::string counter = join(key, "read");
  if (store_->add(counter, 1) < readers) return;
  detail::delete_message(*store_, key, message_bytes);
  store_->deleteKey(counter);
}

std::vector<std::string> StoreCommunicator::all_gather(const std::string& message,
                                                       const std::string& what) {
  const Step step{CallKind::kAllGather, -1, -1, what};
  const std::string header = detail::serialize(step) + '\n';
  return with_store(step, [&] {
    const std::string call = join("control", std::to_string(next_++));
    detail::put_message(*store_, join(call, std::to_string(rank())), header + message);
    std::vector<std::string> messages;
    for (int sender = 0; sender < world_size(); ++sender) {
      const std::string key = join(call, std::to_string(sender));
      const std::string received = read(key, step, sender);
      messages.push_back(received.substr(header.size()));
      forget_once_read(key, received.size(), world_size());
    }
    return messages;
  });
}

std::string StoreCommunicator::broadcast_message(const std::string& message, int root,
                                                 const std::string& what) {
  require_root(root, what);
  const Step step{CallKind::kBroadcastMessage, root, -1, what};
  const std::string header = detail::serialize(step) + '\n';
  return with_store(step, [&] {
    // The same key as an all_gather's, so that ranks that call different steps find out.
    const std::string key = join(join("control", std::to_string(next_++)), std::to_string(root));
    if (rank() == root) {
      if (world_size() > 1) detail::put_message(*store_, key, header + message);
      return message;
    }
    const std::string received = read(key, step, root);
    forget_once_read(key, received.size(), world_size() - 1);
    return received.substr(header.size());
  });
}

std::unique_ptr<PendingBroadcast> StoreCommunicator::start_broadcast(const at::Tensor& buffer,
                                                                     int root,
                                                                     const std::string& what) {
  require_root(root, what);
  require_buffer(buffer, what);
  Step step{CallKind::kBroadcast, root, buffer.numel(), what};
  const uint64_t first_chunk = next_chunk_;
  if (rank() == root) {
    with_store(step, [&] { send(buffer, step); });
  } else {
    require_healthy();
    next_chunk_ += (static_cast<uint64_t>(buffer.numel()) + detail::kStoreChunkBytes - 1) /
                   detail::kStoreChunkBytes;
  }
  return std::make_unique<StoreBroadcast>(*this, first_chunk, std::move(step), buffer);
}

void StoreCommunicator::send(const at::Tensor& buffer, const Step& step) {
  const auto* bytes = static_cast<const uint8_t*>(buffer.const_data_ptr());
  const auto size = static_cast<size_t>(buffer.numel());
  for (size_t offset = 0; offset < size; offset += detail::kStoreChunkBytes) {
    const uint64_t number = next_chunk_++;
    if (world_size() == 1) continue;
    if (number >= kUnreadChunks) {
      const std::string read = join("read", std::to_string(number - kUnreadChunks));
      await(read, step);
      store_->deleteKey(read);
    }
    const size_t count = std::min(detail::kStoreChunkBytes, size - offset);
    store_->set(join("chunk", std::to_string(number)),
                std::vector<uint8_t>(bytes + offset, bytes + offset + count));
  }
}

void StoreCommunicator::receive(uint64_t first_chunk, const at::Tensor& buffer, const Step& step) {
  with_store(step, [&] {
    auto* bytes = static_cast<uint8_t*>(buffer.mutable_data_ptr());
    const auto size = static_cast<size_t>(buffer.numel());
    uint64_t number = first_chunk;
    for (size_t offset = 0; offset < size; offset += detail::kStoreChunkBytes, ++number) {
      const std::string key = join("chunk", std::to_string(number));
      await(key, step);
      const auto value = store_->get(key);
      const size_t count = std::min(detail::kStoreChunkBytes, size - offset);
      if (value.size() != count) {
        fail({ErrorCode::kPeerLost, -1, "", step.what,
              "the root sent " + std::to_string(value.size()) + " bytes where " +
                  std::to_string(count) + " were expected",
              "make the same calls in the same order on every rank"});
      }
      std::memcpy(bytes + offset, value.data(), count);
      const std::string counter = join(key, "read");
      if (store_->add(counter, 1) < world_size() - 1) continue;
      store_->deleteKey(key);
      store_->deleteKey(counter);
      store_->set(join("read", std::to_string(number)), std::vector<uint8_t>{1});
    }
  });
}

void StoreCommunicator::take_census(const Step& step) {
  const std::string alive = "alive";
  detail::put_message(*store_, join(alive, std::to_string(rank())), detail::serialize(step));
  store_->set(kCensusKey, std::vector<uint8_t>{1});
  const auto deadline = Clock::now() + detail::kCensusListens;
  detail::Answers answers(static_cast<size_t>(world_size()));
  for (int other = 0; other < world_size(); ++other) {
    const std::string key = join(alive, std::to_string(other));
    const std::string first_chunk = detail::first_chunk_key(key);
    while (!store_->check({first_chunk}) && Clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    if (!store_->check({first_chunk})) continue;
    answers[static_cast<size_t>(other)] = detail::parse_step(detail::get_message(*store_, key));
  }
  fail(detail::judge_census(answers, backend(), timeout()));
}

}  // namespace

std::unique_ptr<Communicator> detail::make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                              int rank, int world_size,
                                                              const std::string& key_prefix,
                                                              std::chrono::milliseconds timeout,
                                                              bool serves) {
  if (rank < 0 || world_size < 1 || rank >= world_size) {
    throw_error({ErrorCode::kConfig, -1, "", "rank",
                 std::to_string(rank) + " is not a rank of " + std::to_string(world_size), ""});
  }
  const std::string prefix = join("fakescore", key_prefix);
  auto job = c10::make_intrusive<c10d::PrefixStore>(prefix, std::move(store));
  // Communicators made one after the other on one store must not meet each other's keys.
  const int64_t instance = job->add(join("instance", std::to_string(rank)), 1);
  auto keys = c10::make_intrusive<c10d::PrefixStore>(std::to_string(instance), job);
  return std::make_unique<StoreCommunicator>(std::move(keys), rank, world_size, timeout, serves);
}

std::unique_ptr<Communicator> make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                      int rank, int world_size,
                                                      const std::string& key_prefix,
                                                      std::chrono::milliseconds timeout) {
  return detail::make_store_communicator(std::move(store), rank, world_size, key_prefix, timeout,
                                         /*serves=*/false);
}

}  // namespace fakescore
