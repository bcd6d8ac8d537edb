// What the ranks that are left say of the others.
#include "comm/control/census.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fakescore::detail {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Answer waits_in(const std::string& what, const std::map<int, std::string>& working = {}) {
  return {{CallKind::kAllGather, -1, -1, what}, "finish", working};
}

ErrorInfo judge(const Answers& answers) {
  return judge_census(answers, "store", std::chrono::seconds(60));
}

TEST(Census, NamesTheLastStepInWhichALostRankWasHeardOf) {
  const ErrorInfo info = judge({waits_in("output"), waits_in("output"), std::nullopt});
  EXPECT_EQ(info.rank, 2);
  EXPECT_EQ(info.subject, "output");
  EXPECT_THAT(info.message, HasSubstr("rank 2 of 3 did not answer within 60 s over store"));
  EXPECT_THAT(info.message, HasSubstr("last heard of in \"finish\""));
}

TEST(Census, NamesWhatALostRankWasAtWorkOn) {
  const ErrorInfo info =
      judge({waits_in("output"), waits_in("output", {{2, "output"}}), std::nullopt});
  EXPECT_EQ(info.rank, 2);
  EXPECT_THAT(info.message, HasSubstr("rank 2 was last known to be at work on \"output\""));
}

TEST(Census, DoesNotCallARankLostThatIsAtWork) {
  const ErrorInfo info =
      judge({waits_in("output", {{3, "output"}}), waits_in("output"), std::nullopt, std::nullopt});
  EXPECT_EQ(info.rank, 2);
  EXPECT_THAT(info.message, HasSubstr("rank 2 of 4 did not answer"));
  EXPECT_THAT(info.message, HasSubstr("rank 3 is still at work on \"output\""));
}

TEST(Census, TakesNoWordForARankThatAnswersOrIsNone) {
  const ErrorInfo info = judge(
      {waits_in("output", {{-1, "x"}, {1, "y"}, {9, "z"}}), waits_in("output"), std::nullopt});
  EXPECT_THAT(info.message, HasSubstr("rank 2 of 3"));
  EXPECT_THAT(info.message, Not(HasSubstr("at work")));
}

TEST(Census, AnswersSurviveTheWireWithAnyName) {
  const std::string odd("odd\x1fname \xff\xfe\0end", 15);
  const Answer answer{{CallKind::kBroadcast, 7, int64_t{1} << 40, odd}, odd, {{3, odd}, {5, ""}}};
  const std::string bytes = encode_answer(answer);
  const auto got = decode_answer(bytes);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->step, answer.step);
  EXPECT_EQ(got->last, answer.last);
  EXPECT_EQ(got->working, answer.working);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_answer(bytes.substr(0, size)));
  }
}

}  // namespace
}  // namespace fakescore::detail
