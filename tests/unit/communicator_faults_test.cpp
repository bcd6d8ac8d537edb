// Ranks that are lost, give up, or call different steps, over the communicators whose ranks may be
// threads of this process. Processes that die or stop are the fault tests'.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "support/error_of.hpp"

namespace fakescore {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;

constexpr milliseconds kShort{300};
constexpr std::chrono::hours kForever{24};

using World = std::vector<std::unique_ptr<Communicator>>;
using Call = std::function<void(Communicator&)>;

World make_world(const std::string& backend, int ranks, milliseconds timeout) {
  if (backend == "local") return make_local_communicators(ranks, timeout);
  const auto store = c10::make_intrusive<c10d::HashStore>();
  World world;
  for (int rank = 0; rank < ranks; ++rank) {
    world.push_back(make_store_communicator(store, rank, ranks, "faults", timeout));
  }
  return world;
}

/// Each rank makes its call, at the same time; returns the lost peers' errors.
std::vector<std::string> errors_of(World& world, const std::vector<Call>& calls) {
  std::vector<std::string> errors(calls.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < calls.size(); ++rank) {
    threads.emplace_back(
        [&, rank] { errors[rank] = error_of<CommError>([&] { calls[rank](*world[rank]); }); });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

void gather(Communicator& communicator) { communicator.all_gather("", "a step"); }

class CommunicatorFaults : public ::testing::TestWithParam<const char*> {
 protected:
  static World make(int ranks, milliseconds timeout) {
    return make_world(GetParam(), ranks, timeout);
  }
};

TEST_P(CommunicatorFaults, ARankThatDoesNotComeIsNamedByAllOthers) {
  World world = make(3, kShort);
  const auto errors = errors_of(world, {gather, gather});
  EXPECT_THAT(errors[0], HasSubstr("rank 2 of 3 did not answer"));
  EXPECT_EQ(errors[1], errors[0]);
  // Who comes too late hears the same.
  world[2]->set_timeout(kForever);
  EXPECT_EQ(error_of<CommError>([&] { gather(*world[2]); }), errors[0]);
}

TEST_P(CommunicatorFaults, ABroadcastHasADeadlineOnEitherSide) {
  for (const int present : {0, 1}) {
    World world = make(2, kShort);
    const std::string text = error_of<CommError>([&] {
      const auto buffer =
          torch::zeros({16 << 20}, torch::kUInt8);  // more than a store takes unread
      world[static_cast<size_t>(present)]->start_broadcast(buffer, 0, "weights")->wait();
    });
    EXPECT_THAT(text, AllOf(HasSubstr("weights"), HasSubstr("did not answer")));
  }
}

TEST_P(CommunicatorFaults, WhoWaitsHearsOfAFailureLongBeforeItsDeadline) {
  World world = make(2, kForever);
  const Call abandon = [](Communicator& communicator) {
    throw CommError(communicator.abandon("the disk is full"));
  };
  const auto errors = errors_of(world, {gather, abandon});
  EXPECT_THAT(errors[0], AllOf(HasSubstr("rank 1 cannot go on"), HasSubstr("the disk is full")));
  EXPECT_EQ(errors[1], errors[0]);
}

TEST_P(CommunicatorFaults, RanksAtWorkThatWaitDoNotKeepEachOtherWaiting) {
  constexpr milliseconds kTimeout{2000};
  constexpr std::chrono::seconds kLongest{10};  // of ten timeouts, were they heard
  World world = make(3, kTimeout);
  const Call gather_within_work = [](Communicator& communicator) {
    const auto work = communicator.begin_work("a step");
    gather(communicator);
  };
  const auto begin = std::chrono::steady_clock::now();
  const auto errors = errors_of(world, {gather_within_work, gather_within_work});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kLongest);
  EXPECT_THAT(errors[0], HasSubstr("rank 2 of 3 did not answer"));
  EXPECT_EQ(errors[1], errors[0]);
}

TEST_P(CommunicatorFaults, WhoLooksHearsOfAFailure) {
  World world = make(2, kForever);
  EXPECT_FALSE(world[0]->peer_abandoned());
  world[1]->abandon("the disk is full");
  EXPECT_TRUE(world[0]->peer_abandoned());
  // Who gave up has nothing left to look for.
  EXPECT_THROW(world[1]->peer_abandoned(), CommError);
}

TEST(StoreCommunicatorFaults, OfAnOlderCommunicatorAreNotTheNextOnes) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  const auto make = [&] {
    return make_store_communicator(store, 0, 1, "faults", std::chrono::seconds(30));
  };
  EXPECT_FALSE(make()->abandon("the disk is full").message.empty());
  EXPECT_FALSE(make()->peer_abandoned());
}

TEST_P(CommunicatorFaults, DifferentStepsAreToldApartByEveryRank) {
  const Call other_step = [](Communicator& communicator) {
    communicator.all_gather("", "another step");
  };
  World world = make(2, std::chrono::seconds(30));
  const auto errors = errors_of(world, {gather, other_step});
  EXPECT_THAT(errors[0], AllOf(HasSubstr("different steps"), HasSubstr("rank 0 called"),
                               HasSubstr("rank 1 called"), HasSubstr("\"another step\"")));
  EXPECT_EQ(errors[1], errors[0]);
}

TEST_P(CommunicatorFaults, AnyTwoKindsOfStepsAreToldApart) {
  const std::vector<Call> kinds{
      gather, [](Communicator& communicator) { communicator.compare("", "a step"); },
      [](Communicator& communicator) {
        communicator.broadcast_message("", 0, "a step");
        gather(communicator);
      },
      [](Communicator& communicator) {
        communicator.start_broadcast(torch::zeros({16}, torch::kUInt8), 0, "a step")->wait();
        gather(communicator);
      }};
  for (size_t first = 0; first < kinds.size(); ++first) {
    for (size_t second = 0; second < first; ++second) {
      World world = make(3, std::chrono::seconds(30));
      const auto errors = errors_of(world, {kinds[first], kinds[second], kinds[second]});
      EXPECT_THAT(errors[0], HasSubstr("different steps")) << first << " and " << second;
      EXPECT_THAT(errors, ::testing::Each(errors[0]));
    }
  }
}

/// The root of a message need not wait for its readers, so it may hear of it in a later call.
TEST_P(CommunicatorFaults, DifferentMessagesAndBroadcastsAreToldApart) {
  const auto message = [](const std::string& what) {
    return [what](Communicator& communicator) {
      communicator.broadcast_message("", 0, what);
      gather(communicator);
    };
  };
  const auto broadcast = [](int64_t bytes) {
    return [bytes](Communicator& communicator) {
      communicator.start_broadcast(torch::zeros({bytes}, torch::kUInt8), 0, "weights")->wait();
      gather(communicator);
    };
  };
  for (const auto& calls : {std::vector<Call>{message("plan"), message("config")},
                            std::vector<Call>{broadcast(16), broadcast(32)}}) {
    World world = make(2, std::chrono::seconds(30));
    const auto errors = errors_of(world, calls);
    EXPECT_THAT(errors[0], HasSubstr("different steps"));
    EXPECT_EQ(errors[1], errors[0]);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, CommunicatorFaults, ::testing::Values("local", "store"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Interrupt, EndsACallOverAStoreOnEveryRank) {
  for (const bool in_broadcast : {false, true}) {
    World world = make_world("store", 2, kForever);
    std::thread other([&] {
      std::this_thread::sleep_for(milliseconds(100));
      world[0]->interrupt();
    });
    const Call wait = [&](Communicator& communicator) {
      if (!in_broadcast) return gather(communicator);
      auto buffer = torch::zeros({16 << 20}, torch::kUInt8);
      communicator.start_broadcast(buffer, 1, "weights")->wait();
    };
    const std::string text = error_of<CommError>([&] { wait(*world[0]); });
    other.join();
    EXPECT_THAT(text, HasSubstr("the call was interrupted"));
    EXPECT_EQ(error_of<CommError>([&] { gather(*world[1]); }), text);
  }
}

}  // namespace
}  // namespace fakescore
