// Files that are there whole, or not at all.
#include "file/whole_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <set>

#include "support/temp_folder.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_text(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

void write_whole(const fs::path& path, const std::string& text) {
  WholeFile file(path);
  file.write(text);
  file.commit();
}

/// What is said; empty where nothing is thrown.
std::string failure_of(const std::function<void()>& body) {
  try {
    body();
    return "";
  } catch (const std::system_error& error) {
    return error.what();
  }
}

class WholeFileTest : public ::testing::Test {
 protected:
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      found.insert(entry.path().filename().string());
    }
    return found;
  }

  testing::TempFolder folder_;
  fs::path path_ = folder_ / "report.json";
};

TEST_F(WholeFileTest, AppearsWhenItIsCommitted) {
  {
    WholeFile file(path_);
    file.write("new ");
    file.write(std::string(1 << 20, 'x'));
    EXPECT_FALSE(fs::exists(path_));
    file.commit();
  }
  EXPECT_EQ(text_of(path_), "new " + std::string(1 << 20, 'x'));
  EXPECT_EQ(names(), std::set<std::string>{"report.json"});
}

TEST_F(WholeFileTest, DroppedItLeavesWhatWasThere) {
  { WholeFile(path_).write("new"); }
  EXPECT_TRUE(names().empty());
  write_text(path_, "old");
  { WholeFile(path_).write("new"); }
  EXPECT_EQ(text_of(path_), "old");
  EXPECT_EQ(names(), std::set<std::string>{"report.json"});
}

TEST_F(WholeFileTest, AFullDiskLeavesWhatWasThere) {
  write_text(path_, "old");
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto said = failure_of([&] { write_whole(path_, std::string(1 << 20, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(said, "File too large");
  EXPECT_EQ(text_of(path_), "old");
  EXPECT_EQ(names(), std::set<std::string>{"report.json"});
}

TEST_F(WholeFileTest, KeepsTheModeOfTheFileThatItReplaces) {
  write_text(path_, "old");
  const auto mode = fs::perms::owner_read | fs::perms::owner_write | fs::perms::others_read;
  fs::permissions(path_, mode);
  write_whole(path_, "new");
  EXPECT_EQ(text_of(path_), "new");
  EXPECT_EQ(fs::status(path_).permissions(), mode);
}

TEST_F(WholeFileTest, ALinkStaysALink) {
  fs::create_directory(folder_ / "elsewhere");
  const auto real = folder_ / "elsewhere/real.json";
  fs::create_symlink("elsewhere/real.json", path_);
  fs::create_symlink("report.json", folder_ / "second");
  for (const char* text : {"made", "replaced"}) {
    write_whole(folder_ / "second", text);
    EXPECT_TRUE(fs::is_symlink(path_));
    EXPECT_EQ(text_of(real), text);
  }
  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_NE(failure_of([&] { WholeFile(folder_ / "loop"); }), "");
}

TEST_F(WholeFileTest, ANameOfAnyLengthAndALeftoverAreNoObstacle) {
  const auto longest = folder_ / std::string(255, 'n');
  write_text(folder_ / (".fakescore-" + std::to_string(::getpid()) + "-0"), "of a killed process");
  write_whole(longest, "whole");
  EXPECT_EQ(text_of(longest), "whole");
  EXPECT_EQ(names().size(), 2U);
}

TEST_F(WholeFileTest, WhatCannotBeWrittenIsFoundAtOnce) {
  EXPECT_EQ(failure_of([&] { WholeFile(folder_ / "missing/file"); }), "No such file or directory");
  EXPECT_EQ(failure_of([&] { WholeFile(folder_.path()); }), "Is a directory");
  write_text(path_, "old");
  EXPECT_EQ(failure_of([&] { WholeFile(path_ / "below"); }), "Not a directory");
  EXPECT_NE(failure_of([&] { WholeFile("/proc/none"); }), "");
}

TEST_F(WholeFileTest, AFileThatIsProtectedIsNotReplaced) {
  write_text(path_, "old");
  fs::permissions(path_, fs::perms::owner_read);
  const bool is_root = ::geteuid() == 0;  // who may write everywhere
  constexpr uid_t kNobody = 65534;
  if (is_root) {
    ASSERT_EQ(::chown(folder_.path().c_str(), kNobody, 0), 0);
    ASSERT_EQ(::chown(path_.c_str(), kNobody, 0), 0);
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  const auto said = failure_of([&] { write_whole(path_, "new"); });
  const auto beside = failure_of([&] { write_whole(folder_ / "other", "new"); });
  if (is_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  EXPECT_EQ(said, "Permission denied");
  EXPECT_EQ(text_of(path_), "old");
  EXPECT_EQ(beside, "");
}

TEST_F(WholeFileTest, ADeviceIsWrittenInPlace) {
  write_whole("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_EQ(failure_of([&] { write_whole("/dev/full", "too much"); }), "No space left on device");
}

}  // namespace
}  // namespace fakescore::detail
