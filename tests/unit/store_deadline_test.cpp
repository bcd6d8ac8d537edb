// A store that is slow to answer, as one on a busy host is, is no lost peer, and it holds few
// chunks.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "comm/control/store_planes.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace {

/// Knows of a key only when it is asked for the second time.
class SlowStore : public c10d::HashStore {
 public:
  bool check(const std::vector<std::string>& keys) override {
    bool is_known = true;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const std::string& key : keys) is_known = !asked_.insert(key).second && is_known;
    }
    return is_known && HashStore::check(keys);
  }

 private:
  std::mutex mutex_;
  std::set<std::string> asked_;
};

TEST(StoreCommunicator, GivesASlowStoreItsTimeEvenWhereChunksAreReadAlready) {
  constexpr int kBroadcasts = 8;  // more than chunks may be unread
  const auto store = c10::make_intrusive<SlowStore>();
  auto root = make_store_communicator(store, 0, 2, "slow", std::chrono::seconds(30));
  auto reader = make_store_communicator(store, 1, 2, "slow", std::chrono::seconds(30));
  const auto move = [](Communicator& communicator) {
    for (int i = 0; i < kBroadcasts; ++i) {
      auto buffer = torch::full({1000}, communicator.rank() == 0 ? i : 255, torch::kUInt8);
      communicator.start_broadcast(buffer, 0, "buffer")->wait();
      EXPECT_TRUE((buffer == i).all().item<bool>()) << i;
      communicator.all_gather("", "read");
    }
  };
  std::thread peer([&] { EXPECT_NO_THROW(move(*reader)); });
  EXPECT_NO_THROW(move(*root));
  peer.join();
}

/// Takes its time for every chunk.
class PacedStore : public c10d::HashStore {
 public:
  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    constexpr size_t kLargestMessage = 1000;
    constexpr std::chrono::milliseconds kPace(250);
    if (value.size() > kLargestMessage) std::this_thread::sleep_for(kPace);
    HashStore::set(key, value);
  }
};

TEST(StoreCommunicator, ABroadcastMayTakeLongerThanTheTimeoutWhileItsChunksMove) {
  constexpr int64_t kBytes = 12 << 20;  // at the store's pace, longer than the timeout
  constexpr std::chrono::seconds kTimeout(2);
  const auto store = c10::make_intrusive<PacedStore>();
  auto root = make_store_communicator(store, 0, 2, "paced", std::chrono::seconds(30));
  auto reader = make_store_communicator(store, 1, 2, "paced", std::chrono::seconds(30));
  reader->set_timeout(kTimeout);
  std::thread peer([&] {
    EXPECT_NO_THROW(
        root->start_broadcast(torch::ones({kBytes}, torch::kUInt8), 0, "weights")->wait());
  });
  const auto received = torch::zeros({kBytes}, torch::kUInt8);
  EXPECT_NO_THROW(reader->start_broadcast(received, 0, "weights")->wait());
  EXPECT_TRUE((received == 1).all().item<bool>());
  peer.join();
}

/// Else their last message would be cut off.
TEST(StoreCommunicator, WhoServesTheStoreLeavesAfterTheOthers) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  const auto make = [&](int rank) {
    return detail::make_store_communicator(store, rank, 2, "goodbye", std::chrono::seconds(30),
                                           {"rank 0's store", 0});
  };
  auto server = make(0);
  auto other = make(1);
  std::atomic<bool> has_left{false};
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    has_left = true;
    other.reset();
  });
  server.reset();
  EXPECT_TRUE(has_left);
  late.join();
}

TEST(StoreCommunicator, LeavesNothingInAStoreThatGoesOn) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  int64_t before = 0;
  for (const bool meets_last : {false, true}) {
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 3; ++rank) {
      ranks.emplace_back([&store, rank, meets_last] {
        const auto own = make_store_communicator(store, rank, 3, "left", std::chrono::seconds(30));
        const auto work = own->begin_work("a step");
        own->all_gather(std::string(100'000, 'x'), "gather");
        own->broadcast_message(std::string(100'000, 'x'), 1, "message");
        for (const int64_t bytes : {0, 10, 12 << 20}) {
          own->start_broadcast(torch::ones({bytes}, torch::kUInt8), 2, "weights")->wait();
        }
        if (meets_last) own->compare("", "compare");
      });
    }
    for (std::thread& rank : ranks) rank.join();
    // How many communicators each rank has made is counted for good.
    if (before == 0) before = store->getNumKeys();
    EXPECT_EQ(before, 3);
    EXPECT_EQ(store->getNumKeys(), before);
  }
}

TEST(StoreCommunicator, LeavesFewChunksUnread) {
  constexpr int64_t kChunks = 32;
  const auto store = c10::make_intrusive<c10d::HashStore>();
  auto root = make_store_communicator(store, 0, 2, "unread", std::chrono::seconds(30));
  auto reader = make_store_communicator(store, 1, 2, "unread", std::chrono::seconds(30));
  const auto sent = torch::full({kChunks << 20}, 7, torch::kUInt8);
  const auto received = torch::zeros({kChunks << 20}, torch::kUInt8);
  const auto pending = root->start_broadcast(sent, 0, "weights");
  std::thread sender([&] { pending->wait(); });
  EXPECT_LT(store->getNumKeys(), kChunks / 2);
  reader->start_broadcast(received, 0, "weights")->wait();
  sender.join();
  EXPECT_TRUE(torch::equal(received, sent));
}

}  // namespace
}  // namespace fakescore
