#include "fill/host_memory.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "support/temp_folder.hpp"

namespace fakescore::detail {
namespace {

class HostMemory : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
  }

  testing::TempFolder folder_;
};

TEST_F(HostMemory, AddsSwapToWhatTheMachineHas) {
  write("proc/sys/kernel/random/boot_id", "abc\n");
  write("proc/meminfo", "MemTotal: 900 kB\nMemAvailable: 100 kB\nSwapFree: 20 kB\n");
  const auto limits = memory_limits(folder_.path());
  ASSERT_EQ(limits.size(), 1U);
  EXPECT_EQ(limits[0].id, "abc");
  EXPECT_EQ(limits[0].available, 120U * 1024);
}

TEST_F(HostMemory, FindsTheLimitsOfTheGroupsAround) {
  write("proc/sys/kernel/random/boot_id", "abc\n");
  write("proc/self/cgroup", "1:name=systemd:/x\n0::/job/step\n");
  write("sys/fs/cgroup/job/step/memory.max", "max\n");
  write("sys/fs/cgroup/job/step/memory.current", "5\n");
  write("sys/fs/cgroup/job/memory.max", "1000\n");
  write("sys/fs/cgroup/job/memory.current", "900\n");
  write("sys/fs/cgroup/job/memory.stat", "anon 100\ninactive_file 500\nactive_file 200\n");
  const auto limits = memory_limits(folder_.path());
  ASSERT_EQ(limits.size(), 1U);
  EXPECT_EQ(limits[0].name, "the control group /job");
  EXPECT_EQ(limits[0].available, 800U);
}

TEST_F(HostMemory, KnowsThisMachine) {
  EXPECT_TRUE(memory_limits(folder_.path()).empty());
  EXPECT_FALSE(memory_limits().empty());
  EXPECT_GT(peak_host_bytes(), 0U);
}

}  // namespace
}  // namespace fakescore::detail
