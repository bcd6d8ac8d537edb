#include "comm/control/deadline.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace fakescore::detail {
namespace {

using std::chrono::milliseconds;

TEST(Deadline, PassesOnceItsTimeIsUp) {
  Deadline deadline(milliseconds(50));
  std::this_thread::sleep_for(milliseconds(60));
  EXPECT_TRUE(deadline.passed());
  EXPECT_LE(deadline.left(), milliseconds(0));
}

TEST(Deadline, IsRenewedByProgress) {
  Deadline deadline(milliseconds(0));
  EXPECT_TRUE(deadline.passed());
  deadline.renew(std::chrono::hours(1));
  EXPECT_FALSE(deadline.passed());
}

TEST(Deadline, BeginsAnewWhenAPeerIsHeardToBeAtWork) {
  Deadline deadline(milliseconds(50));
  std::this_thread::sleep_for(milliseconds(60));
  deadline.hear_of_work();
  EXPECT_FALSE(deadline.passed());
  EXPECT_LE(deadline.left(), milliseconds(50));
}

TEST(Deadline, PassesAfterTenTimeoutsOfAPeersWork) {
  Deadline deadline(milliseconds(20));
  for (int heard = 0; heard < Deadline::kTimeoutsAtWork; ++heard) {
    std::this_thread::sleep_for(milliseconds(21));
    deadline.hear_of_work();
  }
  EXPECT_TRUE(deadline.passed());
  deadline.renew(milliseconds(20'000));
  EXPECT_FALSE(deadline.passed());
}

TEST(Deadline, CountsATimeWithoutALookAsOneSecond) {
  Deadline deadline(std::chrono::minutes(1));
  std::this_thread::sleep_for(milliseconds(1500));
  EXPECT_EQ(deadline.left(), std::chrono::seconds(59));
}

}  // namespace
}  // namespace fakescore::detail
