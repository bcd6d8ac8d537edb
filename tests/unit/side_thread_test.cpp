#include "comm/control/side_thread.hpp"

#include <gtest/gtest.h>

#include <future>
#include <stdexcept>
#include <thread>

namespace fakescore::detail {
namespace {

using std::chrono::milliseconds;

TEST(SideThread, RunsOneOperationAfterTheOtherAndRethrows) {
  SideThread thread;
  int calls = 0;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(thread.run([&] { ++calls; }, std::chrono::hours(1)));
  EXPECT_EQ(calls, 3);
  EXPECT_THROW(thread.run([] { throw std::runtime_error("no"); }, std::chrono::hours(1)),
               std::runtime_error);
}

TEST(SideThread, LeavesBehindWhatIsStuck) {
  auto end = std::make_shared<std::promise<void>>();
  const std::shared_future<void> ending = end->get_future().share();
  {
    SideThread thread;
    EXPECT_FALSE(thread.run([ending] { ending.wait(); }, milliseconds(100)));
  }  // would wait for ever
  end->set_value();
}

/// A deadline that nobody looks at for long takes that for a pause of the whole process.
TEST(SideThread, LooksAtItsCallersDeadlineMeanwhile) {
  constexpr milliseconds kWork{2500};
  Deadline deadline(kWork);
  SideThread thread;
  EXPECT_TRUE(
      thread.run([&] { std::this_thread::sleep_for(kWork); }, std::chrono::hours(1), &deadline));
  EXPECT_TRUE(deadline.passed());
}

}  // namespace
}  // namespace fakescore::detail
