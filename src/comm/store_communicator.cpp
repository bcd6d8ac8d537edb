// Ranks over a c10d store. Call number n of rank r is the key "<n>/<r>", whatever the call: a rank
// that called something else is found out by whoever reads its frame.
#include "comm/store_communicator.hpp"

#include <algorithm>
#include <cstring>
#include <deque>

#include "comm/base_communicator.hpp"
#include "comm/nap.hpp"
#include "comm/periodic.hpp"
#include "comm/side_thread.hpp"
#include "comm/store_bulk.hpp"
#include "comm/store_frame.hpp"
#include "comm/store_keys.hpp"
#include "comm/store_work.hpp"
#include "core/error_codec.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace {

using detail::Answers;
using detail::Bulk;
using detail::CallKind;
using detail::Clock;
using detail::Deadline;
using detail::Frame;
using detail::keys_of_ranks;
using detail::Nap;
using detail::pack;
using detail::Periodic;
using detail::Step;
using detail::StoreServer;
using detail::unpack;
using detail::with_prefix;
using std::chrono::milliseconds;
using Bytes = std::vector<uint8_t>;

constexpr int64_t kUnread = 4;
// A TCPStore server drops the connection of a client that sends more.
constexpr size_t kMaxValue = size_t{8} << 20;
// How often a rank that waits looks whether another one began a census or is at work.
constexpr milliseconds kLookInterval{200};
// What an operation may take beyond its own timeout before the store itself counts as lost.
constexpr milliseconds kStoreGrace{1500};
constexpr milliseconds kGoodbye{2000};

Bytes to_bytes(const std::string& text) { return Bytes(text.begin(), text.end()); }

class StoreCommunicator : public detail::BaseCommunicator {
 public:
  StoreCommunicator(c10::intrusive_ptr<c10d::Store> store, int rank, int world_size,
                    const std::string& key_prefix, milliseconds timeout, StoreServer server)
      : BaseCommunicator(rank, world_size, timeout, "store"),
        store_(std::move(store)),
        server_(std::move(server)),
        prefix_("fakescore/" + key_prefix + "/") {
    // Ranks that make one communicator after the other would else read each other's old keys.
    const std::string counter = prefix_ + "generation/" + std::to_string(rank);
    const int64_t generation =
        compute<int64_t>([counter](c10d::Store& s) { return s.add(counter, 1); });
    prefix_ += std::to_string(generation) + "/";
  }
  ~StoreCommunicator() override { say_goodbye(); }

  std::vector<std::string> all_gather(const std::string& message, const std::string& what) override;
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override;
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  ErrorInfo abandon(const std::string& reason) override;
  bool peer_abandoned() override;
  std::unique_ptr<OwnWork> begin_work(const std::string& what) override;
  /// Brings every broadcast up to and including `last` to its end on this rank.
  void finish(const std::shared_ptr<Bulk>& last);

 private:
  using Operation = std::function<void(c10d::Store&)>;

  void operate(Operation operation, milliseconds limit = milliseconds(0),
               Deadline* waiting_for = nullptr);
  template <typename Result>
  Result compute(std::function<Result(c10d::Store&)> operation) {
    auto result = std::make_shared<Result>();
    operate([result, operation](c10d::Store& store) { *result = operation(store); });
    return std::move(*result);
  }
  void set(const std::string& key, Bytes value);
  bool has(const std::string& key);
  bool has_all(const std::vector<std::string>& keys);
  std::vector<Bytes> await(const std::vector<std::string>& keys, const Step& step,
                           Deadline& deadline);
  void release(const std::vector<std::string>& keys, int readers, const std::string& then_set);
  void require_same(int other, const Step& theirs, const Step& mine);
  [[noreturn]] void take_census(const Step& step);
  [[noreturn]] void publish(const ErrorInfo& info);
  [[noreturn]] void lose_store();
  bool send_chunk(Bulk& bulk, bool may_wait, Deadline& deadline);
  void receive_chunk(Bulk& bulk, Deadline& deadline);
  void say_goodbye() noexcept;

  c10::intrusive_ptr<c10d::Store> store_;
  StoreServer server_;
  std::string prefix_;
  detail::SideThread worker_;
  uint64_t next_ = 0;
  int64_t sent_ = 0;   // chunks this rank has sent as a root
  int64_t signs_ = 0;  // signs of work that this rank has seen
  std::deque<std::shared_ptr<Bulk>> pending_;
};

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

void StoreCommunicator::operate(Operation operation, milliseconds limit, Deadline* waiting_for) {
  bool in_time = false;
  try {
    in_time =
        worker_.run([store = store_, operation = std::move(operation)] { operation(*store); },
                    limit.count() > 0 ? limit : std::max(timeout(), kStoreGrace), waiting_for);
  } catch (const std::exception&) {
    lose_store();  // c10::Error and std::runtime_error: a timeout or a connection that is gone
  }
  if (!in_time) lose_store();
}

void StoreCommunicator::lose_store() {
  // The reason differs from rank to rank (addresses, errno), so it stays out of the text.
  fail({ErrorCode::kPeerLost, server_.rank, "", server_.name,
        std::string("cannot be reached or does not answer over store (timeout ")
            .append(detail::in_seconds(timeout()))
            .append("): the process that serves it is dead, stopped, or no longer in the job"),
        "look at the log of the process that serves the store and start the job again"});
}

void StoreCommunicator::set(const std::string& key, Bytes value) {
  if (value.size() > kMaxValue) {
    publish({ErrorCode::kPeerLost, rank(), "", "message " + key,
             std::to_string(value.size()) + " bytes are more than a TCPStore takes in one message",
             "use the MPI communicator for models of this many tensors"});
  }
  operate([key = prefix_ + key, value = std::move(value)](c10d::Store& s) { s.set(key, value); });
}

bool StoreCommunicator::has(const std::string& key) { return has_all({key}); }

bool StoreCommunicator::has_all(const std::vector<std::string>& keys) {
  return compute<bool>(
      [full = with_prefix(prefix_, keys)](c10d::Store& s) { return s.check(full); });
}

std::vector<Bytes> StoreCommunicator::await(const std::vector<std::string>& keys, const Step& step,
                                            Deadline& deadline) {
  const std::vector<std::string> full = with_prefix(prefix_, keys);
  auto values = std::make_shared<std::vector<Bytes>>();
  const Waiting waiting(*this);
  Periodic look(kLookInterval);
  // By questions: c10d prints a line and its stack for each wait of its own whose time passes.
  for (Nap nap;; nap.take()) {
    operate(
        [full, values, verdict = prefix_ + "verdict"](c10d::Store& s) {
          // Who comes too late finds all that it waits for, but the others have given up.
          if (s.check(full) && !s.check({verdict})) *values = s.multiGet(full);
        },
        std::max(deadline.left(), milliseconds(0)) + kStoreGrace, &deadline);
    if (!values->empty()) return std::move(*values);
    const uint64_t heard = times_heard();
    if (look.is_due() && peer_abandoned()) take_census(step);
    if (times_heard() != heard) deadline.hear_of_work();
    if (deadline.passed()) take_census(step);
  }
}

bool StoreCommunicator::peer_abandoned() {
  if (has("census") || has("verdict")) return true;
  const auto look = compute<detail::WorkLook>([seen = signs_, prefix = prefix_](c10d::Store& s) {
    return detail::look_for_work(s, prefix, seen);
  });
  signs_ = look.signs;
  if (look.rank >= 0 && look.rank != rank()) {
    hear_of_work(look.rank, look.what, look.times_together);
  }
  return false;
}

std::unique_ptr<OwnWork> StoreCommunicator::begin_work(const std::string& what) {
  if (world_size() == 1 || broken()) return nullptr;
  return detail::write_work(store_, prefix_, {0, rank(), times_together(), what}, timeout(),
                            waits());
}

void StoreCommunicator::release(const std::vector<std::string>& keys, int readers,
                                const std::string& then_set) {
  const std::vector<std::string> full = with_prefix(prefix_, keys);
  const std::string after = then_set.empty() ? "" : prefix_ + then_set;
  operate([full, readers, after](c10d::Store& s) {
    const std::string counter = full.front() + "#";
    if (s.add(counter, 1) < readers) return;
    for (const std::string& key : full) s.deleteKey(key);
    s.deleteKey(counter);
    if (!after.empty()) s.set(after, Bytes{1});
  });
}

void StoreCommunicator::require_same(int other, const Step& theirs, const Step& mine) {
  if (theirs == mine) return;
  publish(other < rank() ? detail::different_steps(other, theirs, rank(), mine, backend())
                         : detail::different_steps(rank(), mine, other, theirs, backend()));
}

void StoreCommunicator::publish(const ErrorInfo& info) {
  const std::string key = prefix_ + "verdict";
  const Bytes mine = to_bytes(detail::encode_error(info));
  // The first verdict wins, so that all ranks raise the same.
  const Bytes winner =
      compute<Bytes>([key, mine](c10d::Store& s) { return s.compareSet(key, {}, mine); });
  fail(detail::decode_error(std::string(winner.begin(), winner.end())));
}

ErrorInfo StoreCommunicator::abandon(const std::string& reason) {
  return failure_of([&] {
    require_healthy();
    take_census({CallKind::kFailure, -1, -1, reason});
  });
}

void StoreCommunicator::take_census(const Step& step) {
  set("alive/" + std::to_string(rank()), to_bytes(detail::encode_answer(answer_with(step))));
  set("census", Bytes{1});
  const std::vector<std::string> keys = keys_of_ranks("alive/", world_size());
  const auto deadline = Clock::now() + detail::kCensusListens;
  for (Nap nap; !has("verdict") && !has_all(keys) && Clock::now() < deadline;) nap.take();
  const auto answers = compute<Answers>([full = with_prefix(prefix_, keys)](c10d::Store& s) {
    return detail::read_answers(s, full);
  });
  publish(detail::judge_census(answers, backend(), timeout()));
}

std::vector<std::string> StoreCommunicator::all_gather(const std::string& message,
                                                       const std::string& what) {
  require_healthy();
  Deadline deadline(timeout());
  const Step step{CallKind::kAllGather, -1, -1, what};
  const std::string call = std::to_string(next_++) + "/";
  set(call + std::to_string(rank()), pack(step, message.data(), message.size()));
  const std::vector<std::string> keys = keys_of_ranks(call, world_size());
  const std::vector<Bytes> values = await(keys, step, deadline);
  std::vector<std::string> messages;
  for (int peer = 0; peer < world_size(); ++peer) {
    const Frame frame = unpack(values[static_cast<size_t>(peer)]);
    require_same(peer, frame.step, step);
    messages.emplace_back(frame.payload.begin(), frame.payload.end());
  }
  release(keys, world_size(), "");
  hear_of_all(what);
  return messages;
}

std::string StoreCommunicator::broadcast_message(const std::string& message, int root,
                                                 const std::string& what) {
  require_healthy();
  require_root(root, what);
  Deadline deadline(timeout());
  const Step step{CallKind::kBroadcastMessage, root, -1, what};
  const std::string key = std::to_string(next_++) + "/" + std::to_string(root);
  if (rank() == root) {
    if (world_size() > 1) set(key, pack(step, message.data(), message.size()));
    return message;
  }
  const Frame frame = unpack(await({key}, step, deadline).front());
  require_same(root, frame.step, step);
  release({key}, world_size() - 1, "");
  return std::string(frame.payload.begin(), frame.payload.end());
}

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
  const bool first = pending_.empty();
  pending_.push_back(bulk);
  if (first && rank() == root) {
    Deadline deadline(timeout());
    while (!bulk->finished() && send_chunk(*bulk, false, deadline)) deadline.renew(timeout());
  }
  return std::make_unique<StoreBroadcast>(*this, bulk);
}

bool StoreCommunicator::send_chunk(Bulk& bulk, bool may_wait, Deadline& deadline) {
  if (world_size() > 1) {
    const std::string base = "read/" + std::to_string(rank()) + "/";
    const std::string oldest = base + std::to_string(sent_ - kUnread);
    if (sent_ >= kUnread) {
      if (!may_wait && !has(oldest)) return false;
      await({oldest}, bulk.step, deadline);
      operate([key = prefix_ + oldest](c10d::Store& s) { s.deleteKey(key); });
    }
    // The last reader of a chunk tells the root; its number travels in the frame's tail.
    Bytes packed = pack(bulk.step, bulk.chunk_data(), bulk.chunk_bytes());
    const uint8_t* number = reinterpret_cast<const uint8_t*>(&sent_);
    packed.insert(packed.end(), number, number + sizeof sent_);
    set(bulk.key(), std::move(packed));
  }
  ++sent_;
  ++bulk.next_chunk;
  return true;
}

void StoreCommunicator::receive_chunk(Bulk& bulk, Deadline& deadline) {
  const std::string key = bulk.key();
  const Frame frame = unpack(await({key}, bulk.step, deadline).front());
  require_same(bulk.step.root, frame.step, bulk.step);
  int64_t number = 0;
  const size_t bytes = bulk.chunk_bytes();
  if (frame.payload.size() != bytes + sizeof number) lose_store();
  if (bytes > 0) std::memcpy(bulk.chunk_data(), frame.payload.data(), bytes);
  std::memcpy(&number, frame.payload.data() + bytes, sizeof number);
  const std::string ack = "read/" + std::to_string(bulk.step.root) + "/" + std::to_string(number);
  release({key}, world_size() - 1, ack);
  ++bulk.next_chunk;
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
    pending_.pop_front();
  }
}

void StoreCommunicator::say_goodbye() noexcept {
  if (broken() || server_.rank < 0) return;
  try {
    if (rank() != server_.rank) {
      operate([key = prefix_ + "goodbye/" +
                     std::to_string(rank())](c10d::Store& s) { s.set(key, Bytes{1}); },
              kGoodbye);
      return;
    }
    std::vector<std::string> keys = keys_of_ranks("goodbye/", world_size());
    keys.erase(keys.begin() + rank());
    const auto end = Clock::now() + kGoodbye;
    for (Nap nap; !keys.empty() && !has_all(keys) && Clock::now() < end;) nap.take();
  } catch (...) {
    return;  // a peer that says no goodbye in time is not waited for
  }
}

}  // namespace

std::unique_ptr<Communicator> detail::make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                              int rank, int world_size,
                                                              const std::string& key_prefix,
                                                              milliseconds timeout,
                                                              StoreServer server) {
  if (!store || world_size < 1 || rank < 0 || rank >= world_size) {
    throw ConfigError({ErrorCode::kConfig, -1, "", "store communicator",
                       "needs a store and a rank within its world; rank is " +
                           std::to_string(rank) + " of " + std::to_string(world_size),
                       ""});
  }
  return std::make_unique<StoreCommunicator>(std::move(store), rank, world_size, key_prefix,
                                             timeout, std::move(server));
}

std::unique_ptr<Communicator> make_store_communicator(c10::intrusive_ptr<c10d::Store> store,
                                                      int rank, int world_size,
                                                      const std::string& key_prefix,
                                                      milliseconds timeout) {
  return detail::make_store_communicator(std::move(store), rank, world_size, key_prefix, timeout,
                                         StoreServer{});
}

}  // namespace fakescore
