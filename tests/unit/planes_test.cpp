// A communicator of planes that a program made itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>
#include <vector>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "support/error_of.hpp"

namespace fakescore {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A program's own transport: nothing moves, and what it was told is kept.
class OwnPlane : public BulkPlane {
 public:
  explicit OwnPlane(at::Device device = at::kCPU) : BulkPlane("own", device) {}

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor&, int,
                                                    const std::string& what) override {
    started.push_back(what);
    return std::make_unique<Ended>();
  }
  std::unique_ptr<PendingOperation> start_exchange(const Exchange&,
                                                   const std::string& what) override {
    started.push_back(what);
    return std::make_unique<Ended>();
  }
  void break_off(const std::string& reason) noexcept override { reasons.push_back(reason); }

  std::vector<std::string> started;
  std::vector<std::string> reasons;

 private:
  class Ended : public PendingOperation {
    void wait() override {}
  };
};

/// One rank of two over `own`, whose peer never comes.
std::unique_ptr<Communicator> make_deserted(const std::shared_ptr<BulkPlane>& own) {
  const auto world = make_local_communicators(2, std::chrono::milliseconds(100));
  return std::make_unique<Communicator>(world[0]->control_plane(), own);
}

at::Tensor some_bytes() { return torch::zeros({4}, torch::kUInt8); }

TEST(Planes, BulkDataGoesOverTheOneThatWasGiven) {
  const auto own = std::make_shared<OwnPlane>();
  const auto communicator = make_deserted(own);
  EXPECT_EQ(communicator->backend(), "own");
  EXPECT_EQ(&communicator->bulk(at::kCPU), own.get());
  communicator->start_broadcast(some_bytes(), 0, "weights")->wait();
  communicator->start_broadcast_group({some_bytes(), some_bytes()}, 0, "group")->wait();
  communicator->start_exchange({some_bytes(), {{1, 4}}, some_bytes(), {{1, 4}}}, "parts")->wait();
  EXPECT_EQ(own->started, (std::vector<std::string>{"weights", "group", "group", "parts"}));
}

TEST(Planes, AGroupOfNothingStartsNothing) {
  const auto own = std::make_shared<OwnPlane>();
  make_deserted(own)->start_broadcast_group({}, 0, "group")->wait();
  EXPECT_THAT(own->started, IsEmpty());
}

TEST(Planes, HostBuffersGoOverTheHostsPlaneAndAllOthersOverTheGpus) {
  const auto host = std::make_shared<OwnPlane>();
  const auto gpu = std::make_shared<OwnPlane>(at::Device(at::kCUDA, 0));
  const auto world = make_local_communicators(1);
  Communicator communicator(world[0]->control_plane(), host, gpu);
  EXPECT_EQ(communicator.device(), gpu->device());
  communicator.start_broadcast(some_bytes(), 0, "on the host")->wait();
  communicator.start_broadcast(torch::zeros({4}, torch::kMeta), 0, "elsewhere")->wait();
  EXPECT_EQ(host->started, std::vector<std::string>{"on the host"});
  EXPECT_EQ(gpu->started, std::vector<std::string>{"elsewhere"});
}

TEST(Planes, ALostPeerBreaksOffBulkData) {
  const auto own = std::make_shared<OwnPlane>();
  const auto communicator = make_deserted(own);
  EXPECT_THAT(error_of<CommError>([&] { communicator->all_gather("", "a step"); }),
              HasSubstr("did not answer"));
  EXPECT_TRUE(communicator->broken());
  EXPECT_THAT(own->reasons, Not(IsEmpty()));
}

TEST(Planes, APlaneThatFailsWithoutAWordIsHeardOfByTheOtherRanks) {
  class FailingPlane : public OwnPlane {
    std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor&, int,
                                                      const std::string&) override {
      throw CommError({ErrorCode::kPeerLost, -1, "", "cable", "was cut", ""});
    }
  };
  const auto world = make_local_communicators(2, std::chrono::milliseconds(100));
  Communicator communicator(world[0]->control_plane(), std::make_shared<FailingPlane>());
  EXPECT_THROW(communicator.start_broadcast(some_bytes(), 0, "weights"), CommError);
  EXPECT_TRUE(communicator.broken());
  EXPECT_TRUE(world[1]->peer_abandoned());
}

TEST(Planes, WhoGivesUpBreaksOffBulkDataWithItsReason) {
  const auto own = std::make_shared<OwnPlane>();
  make_deserted(own)->abandon("the disk is full");
  EXPECT_EQ(own->reasons, std::vector<std::string>{"the disk is full"});
}

TEST(Planes, ABrokenControlPlaneSaysAgainWhatBrokeIt) {
  const auto world = make_local_communicators(2, std::chrono::milliseconds(100));
  ControlPlane& control = *world[0]->control_plane();
  const std::string first = control.abandon("the disk is full").message;
  EXPECT_EQ(control.abandon("").message, first);
}

TEST(Planes, TwoPlanesThatShareOneHaveOneTimeout) {
  const auto world = make_local_communicators(1);
  const Communicator again(world[0]->control_plane(), world[0]->host_plane());
  world[0]->set_timeout(std::chrono::milliseconds(1234));
  EXPECT_EQ(again.timeout(), std::chrono::milliseconds(1234));
}

TEST(Planes, OneThatIsMissingOrInTheWrongPlaceIsRefused) {
  const auto world = make_local_communicators(1);
  const auto control = world[0]->control_plane();
  const auto host = world[0]->host_plane();
  EXPECT_THROW(Communicator(nullptr, host), ConfigError);
  EXPECT_THROW(Communicator(control, nullptr), ConfigError);
  EXPECT_THROW(Communicator(control, host, host), ConfigError);
  EXPECT_THROW(Communicator(control, std::make_shared<OwnPlane>(at::Device(at::kCUDA, 0))),
               ConfigError);
}

}  // namespace
}  // namespace fakescore
