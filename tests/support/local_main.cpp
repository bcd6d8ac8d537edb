// Threads as ranks: FAKESCORE_TEST_RANKS of them, over FAKESCORE_TEST_BACKEND (local; store; or
// shared: messages over a store, bulk data through shared memory).
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "fakescore/comm/make_communicator.hpp"
#include "support/rank_environment.hpp"

namespace {

std::string backend() {
  const char* text = std::getenv("FAKESCORE_TEST_BACKEND");
  return text != nullptr ? text : "local";
}

std::vector<std::unique_ptr<fakescore::Communicator>> make_world() {
  const char* ranks_text = std::getenv("FAKESCORE_TEST_RANKS");
  const int ranks = ranks_text ? std::atoi(ranks_text) : 2;
  const std::chrono::seconds timeout(30);
  if (backend() == "local") {
    return fakescore::make_local_communicators(ranks, timeout);
  }
  auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::unique_ptr<fakescore::Communicator>> world;
  for (int rank = 0; rank < ranks; ++rank) {
    world.push_back(fakescore::make_store_communicator(store, rank, ranks, "test", timeout));
  }
  return world;
}

}  // namespace

namespace fakescore::testing {

void run_on_every_rank(const std::function<void(Communicator&)>& body) {
  auto world = make_world();
  std::vector<std::thread> threads;
  for (auto& communicator : world) {
    threads.emplace_back([&body, &communicator, rank = communicator->rank()] {
      try {
        if (backend() == "shared") {
          communicator = share_host_memory(std::move(communicator));
          ASSERT_EQ(communicator->backend(), "shared memory over store");
        }
        body(*communicator);
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace fakescore::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
