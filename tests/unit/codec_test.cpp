// What travels between ranks as messages: steps and errors.
#include <gtest/gtest.h>

#include "comm/control/step.hpp"
#include "error/error_codec.hpp"

namespace fakescore::detail {
namespace {

const std::string kAnyBytes("odd\x1fname \xff\xfe\0end", 15);

TEST(Codec, StepsSurviveTheWireWithAnyName) {
  for (const Step& step : {Step{CallKind::kAllGather, -1, -1, "plan"},
                           Step{CallKind::kBroadcast, 7, int64_t{1} << 40, kAnyBytes}}) {
    EXPECT_EQ(decode_step(encode_step(step)), step);
  }
}

TEST(Codec, ErrorsSurviveTheWireWithAnyText) {
  const ErrorInfo info{ErrorCode::kTeacher, 3, "plan", kAnyBytes, kAnyBytes + "is bad", "mend it"};
  const ErrorInfo got = decode_error(encode_error(info));
  EXPECT_EQ(got.code, info.code);
  EXPECT_EQ(got.rank, info.rank);
  EXPECT_EQ(got.phase, info.phase);
  EXPECT_EQ(got.subject, info.subject);
  EXPECT_EQ(got.message, info.message);
  EXPECT_EQ(got.remedy, info.remedy);
}

TEST(Codec, BytesThatCannotBeReadThrowNothing) {
  const std::string whole = encode_step({CallKind::kBroadcast, 1, 2, "x"});
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decode_step(whole.substr(0, size)));
    EXPECT_EQ(decode_error(whole.substr(0, size)).code, ErrorCode::kInternal);
  }
  EXPECT_FALSE(decode_step("99999999999999999999\x1f"));
}

}  // namespace
}  // namespace fakescore::detail
