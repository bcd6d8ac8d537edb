#include "fakescore/error.hpp"

#include <gtest/gtest.h>

#include <new>

namespace fakescore {
namespace {

TEST(Error, NamesPhaseRankSubjectAndRemedy) {
  const Error error(ErrorInfo{ErrorCode::kTeacher, 3, "plan", "blocks.0.weight",
                              "shape is [2], the module's is [3]", "use the matching config.json"});
  EXPECT_STREQ(error.what(),
               "teacher error on rank 3 in plan: blocks.0.weight: shape is [2], the module's is "
               "[3] (use the matching config.json)");
}

TEST(Error, EachCodeThrowsItsOwnClass) {
  auto info = [](ErrorCode code) { return ErrorInfo{code, 0, "", "", "x", ""}; };
  EXPECT_THROW(throw_error(info(ErrorCode::kInternal)), InternalError);
  EXPECT_THROW(throw_error(info(ErrorCode::kConfig)), ConfigError);
  EXPECT_THROW(throw_error(info(ErrorCode::kTeacher)), TeacherError);
  EXPECT_THROW(throw_error(info(ErrorCode::kBuild)), BuildError);
  EXPECT_THROW(throw_error(info(ErrorCode::kMismatch)), MismatchError);
  EXPECT_THROW(throw_error(info(ErrorCode::kMemory)), MemoryError);
  EXPECT_THROW(throw_error(info(ErrorCode::kPeerLost)), CommError);
}

TEST(Error, DescribesWhatIsBeingHandled) {
  try {
    throw std::bad_alloc();
  } catch (...) {
    EXPECT_EQ(describe_current_exception(2, "place").code, ErrorCode::kMemory);
  }
  try {
    throw std::runtime_error("boom");
  } catch (...) {
    const ErrorInfo info = describe_current_exception(1, "build", ErrorCode::kBuild);
    EXPECT_EQ(info.code, ErrorCode::kBuild);
    EXPECT_EQ(info.rank, 1);
    EXPECT_EQ(info.message, "boom");
  }
  try {
    throw TeacherError(ErrorInfo{ErrorCode::kTeacher, -1, "", "f", "bad", ""});
  } catch (...) {
    const ErrorInfo info = describe_current_exception(0, "plan");
    EXPECT_EQ(info.code, ErrorCode::kTeacher);
    EXPECT_EQ(info.rank, 0);
    EXPECT_EQ(info.subject, "f");
  }
}

}  // namespace
}  // namespace fakescore
