// What travels between ranks as messages: steps and errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/control/step.hpp"
#include "error/error_codec.hpp"
#include "error/wire.hpp"
#include "support/error_of.hpp"

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
  EXPECT_FALSE(decode_step("not MessagePack"));
  EXPECT_FALSE(decode_step(encode_step({static_cast<CallKind>(99), -1, -1, "x"})));
}

TEST(Codec, ReadsWhatItWrote) {
  const std::map<int, std::string> map{{1, "a"}, {2, kAnyBytes}};
  const std::vector<std::optional<int64_t>> list{int64_t{-5}, std::nullopt};
  const auto [got_map, got_list] =
      from_wire<std::map<int, std::string>, std::vector<std::optional<int64_t>>>(to_wire(map, list),
                                                                                 "values");
  EXPECT_EQ(got_map, map);
  EXPECT_EQ(got_list, list);
}

TEST(Codec, WhatIsOfAnotherFormIsNotRead) {
  const auto error = [](const std::string& bytes) {
    return testing::error_of<MismatchError>([&] { from_wire<std::vector<int8_t>>(bytes, "plan"); });
  };
  const std::string unreadable = "plan: could not be read";
  EXPECT_THAT(error(to_wire(std::string("no list"))), ::testing::HasSubstr(unreadable));
  EXPECT_THAT(error(to_wire(std::vector<int>{300})), ::testing::HasSubstr(unreadable));
  EXPECT_THAT(error(to_wire(std::vector<int>{3}, 1)), ::testing::HasSubstr(unreadable));
  std::string other = to_wire(std::vector<int>{3});
  ASSERT_EQ(other[1], kWireVersion);
  other[1] = 77;
  EXPECT_THAT(error(other), ::testing::HasSubstr("has format version 77"));
}

}  // namespace
}  // namespace fakescore::detail
