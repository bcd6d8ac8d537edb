// A store that is slow to answer, as one on a busy host is, is no lost peer.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <mutex>
#include <set>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

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

}  // namespace
}  // namespace fakescore
