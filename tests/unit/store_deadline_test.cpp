// A store that is slow to answer, as one on a busy host is, is no lost peer.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace {

/// Has no answer for who does not wait for one.
class SlowStore : public c10d::HashStore {
 public:
  void wait(const std::vector<std::string>& keys,
            const std::chrono::milliseconds& timeout) override {
    if (timeout < std::chrono::milliseconds(20)) {
      C10_THROW_ERROR(DistStoreError, "too slow for this wait");
    }
    HashStore::wait(keys, timeout);
  }
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
