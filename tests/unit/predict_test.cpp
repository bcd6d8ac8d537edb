#include "fakescore/fill/predict.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakescore/error.hpp"
#include "fakescore/fill/forecast.hpp"

namespace fakescore {
namespace {

using ::testing::HasSubstr;

/// Round figures: 1 GB takes seconds that can be seen.
Figures round_figures() {
  Figures figures;
  figures.copy = Rates{2e9, 4e9};
  figures.first_write = Rates{1e9, 2e9};
  figures.message = Rates{1e9, 4e9};
  figures.disk = 1e9;
  figures.link = 0.5e9;
  figures.to_device = 10e9;
  figures.control_seconds = 1e-12;
  return figures;
}

constexpr uint64_t kGigabyte = 1'000'000'000;

/// A thousand layers of a megabyte.
std::vector<PlannedTensor> gigabyte() {
  return std::vector<PlannedTensor>(1000, {kGigabyte / 1000, 1000, false});
}

Prediction predict_read(TeacherRead read, const JobShape& shape, const Figures& figures,
                        bool cold = false) {
  TrafficOptions options;
  options.read = read;
  options.backend = figures.backend;
  PredictOptions how;
  how.cold = cold;
  how.bucket_bytes = 1 << 20;
  return predict(plan_traffic(gigabyte(), shape, options), shape, figures, how);
}

TEST(Predict, OneRankCopiesAndWrites) {
  const Prediction alone = predict_read(TeacherRead::kAuto, {1, 1}, round_figures());
  EXPECT_NEAR(alone.seconds, 0.5 + 1, 1e-9);
  EXPECT_EQ(alone.bottleneck, "memory of a rank");
  EXPECT_EQ(alone.control_seconds, 0);
}

TEST(Predict, RanksOfAHostShareItsMemory) {
  const Prediction many = predict_read(TeacherRead::kEveryRank, {1, 4}, round_figures());
  EXPECT_NEAR(many.seconds, 4 * (0.25 + 0.5), 1e-6);
  EXPECT_EQ(many.bottleneck, "memory of a host");
}

TEST(Predict, WhatIsReceivedCountsWithinAHost) {
  const Prediction root = predict_read(TeacherRead::kRoot, {1, 4}, round_figures());
  EXPECT_NEAR(root.seconds - root.way_seconds, 0.25 + 4 * 0.5 + 3 * 0.25, 1e-6);
}

TEST(Predict, OneCopyOverSeveralHostsHasATime) {
  std::vector<PlannedTensor> tensors = gigabyte();
  tensors.push_back({kGigabyte, 0, false});  // whole on every rank
  const JobShape shape{2, 2, 4};
  TrafficOptions options;
  options.read = TeacherRead::kInTurns;
  PredictOptions how;
  how.bucket_bytes = 1 << 20;
  const Prediction turns =
      predict(plan_traffic(tensors, shape, options), shape, round_figures(), how);
  EXPECT_GT(turns.seconds, 2);
  EXPECT_LT(turns.seconds, 10);
}

TEST(Predict, ReplicasOfShardsSendAfterTheyHaveRead) {
  const JobShape shape{2, 2, 2};
  const Prediction turns = predict_read(TeacherRead::kInTurns, shape, round_figures());
  EXPECT_EQ(turns.bottleneck, "links in turn");
  // One rank reads a quarter, and makes the pages of half.
  const double memory = std::max(0.25 / 2 + 0.5, 2 * (0.25 / 4 + 0.5 / 2));
  EXPECT_NEAR(turns.seconds - turns.way_seconds, 2 + memory, 1e-3);
}

TEST(Predict, ASlowLinkIsTheBottleneck) {
  const Prediction root = predict_read(TeacherRead::kRoot, {2, 1}, round_figures());
  EXPECT_EQ(root.bottleneck, "link out of a host");
  EXPECT_NEAR(root.seconds, 2, 0.01);
  // Each end sends its half, one after the other.
  const Prediction turns = predict_read(TeacherRead::kInTurns, {2, 1}, round_figures());
  EXPECT_NEAR(turns.seconds, 2, 0.05);
  EXPECT_EQ(turns.bottleneck, "links in turn");
}

TEST(Predict, EachRankOfAChainIsRoundsBehindTheOneBefore) {
  // 8 buckets of 1 MiB a round, 4 rounds from one rank to the next, the first at once.
  Figures figures = round_figures();
  figures.link = 0.2e9;
  const Prediction root = predict_read(TeacherRead::kRoot, {2, 2}, figures);
  constexpr double kRound = 8 << 20;
  EXPECT_NEAR(root.way_seconds, kRound / 0.2e9 + 2 * 4 * kRound / 1e9, 1e-9);
  EXPECT_NEAR(root.seconds - root.way_seconds, 5, 1e-6);
  const Prediction longer = predict_read(TeacherRead::kRoot, {4, 1}, figures);
  EXPECT_NEAR(longer.way_seconds, (1 + 2 * 4) * kRound / 0.2e9, 1e-9);
  EXPECT_EQ(root.bottleneck, "link out of a host");
}

TEST(Predict, ADiskCountsWhereNoPageCacheHasTheFiles) {
  Figures figures = round_figures();
  figures.disk = 0.1e9;
  EXPECT_EQ(predict_read(TeacherRead::kInTurns, {4, 1}, figures).bottleneck, "links in turn");
  const Prediction cold = predict_read(TeacherRead::kInTurns, {4, 1}, figures, true);
  EXPECT_EQ(cold.stages.front().name, "disk of a host");
  EXPECT_NEAR(cold.stages.front().seconds, 2.5, 0.2);  // each host reads a quarter
  figures.shared_disk = 0.1e9;
  const Prediction shared = predict_read(TeacherRead::kInTurns, {4, 1}, figures, true);
  EXPECT_EQ(shared.bottleneck, "shared disk");
  EXPECT_NEAR(shared.seconds - shared.way_seconds, 10, 0.1);
  // Who reads everything everywhere asks as much more of it.
  const Prediction all = predict_read(TeacherRead::kEveryRank, {4, 1}, figures, true);
  EXPECT_NEAR(all.seconds, 40, 0.1);
}

TEST(Predict, ControlMessagesGrowWithTheRanks) {
  Figures figures = round_figures();
  figures.control_seconds = 1e-3;
  const Prediction prediction = predict_read(TeacherRead::kEveryRank, {100, 8}, figures);
  EXPECT_EQ(prediction.bottleneck, "control messages");
  EXPECT_NEAR(prediction.control_seconds, 16 * 800 * 1e-3, 1e-6);
}

TEST(Predict, AFigureThatIsMissingIsNamed) {
  Figures figures = round_figures();
  figures.link.reset();
  EXPECT_NO_THROW(predict_read(TeacherRead::kRoot, {1, 2}, figures));
  try {
    predict_read(TeacherRead::kRoot, {2, 1}, figures);
    FAIL() << "predicted without the link's rate";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("figure link"));
    EXPECT_THAT(error.what(), HasSubstr("fakescore measure"));
  }
}

TEST(Figures, AreReadAsTheyWereWritten) {
  Figures figures = round_figures();
  figures.backend = "nccl over mpi";
  figures.hop_seconds = 5e-6;
  const std::string text = write_figures(figures);
  const Figures again = read_figures(text, "figures.json");
  EXPECT_EQ(write_figures(again), text);
  EXPECT_EQ(again.backend, figures.backend);
  EXPECT_EQ(again.message->host, figures.message->host);
  EXPECT_FALSE(again.shared_disk.has_value());
  // What measure adds for people is passed over.
  EXPECT_NO_THROW(
      read_figures(R"({"backend": "mpi", "measured": {"hosts": 2}, "link": 1e9})", "figures.json"));
}

TEST(Figures, OtherTextIsRefusedByName) {
  for (const auto& [text, reason] : std::vector<std::pair<const char*, const char*>>{
           {"", "no JSON object"},
           {"[1]", "no JSON object"},
           {R"({"link": "fast"})", "link that is not above 0"},
           {R"({"link": 0})", "link that is not above 0"},
           {R"({"link": 1e999})", "JSON"},
           {R"({"lnik": 1e9})", "\"lnik\""},
           {R"({"copy": 1e9})", "copy that is not of the form"},
           {R"({"copy": {"rank": 1e9, "host": -1}})", "copy.host that is not above 0"},
           {R"({"backend": 3})", "backend that is no text"},
           {R"({"link": 1e9})", "does not say whose backend"}}) {
    try {
      read_figures(text, "figures.json");
      ADD_FAILURE() << text;
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason)) << text;
      EXPECT_THAT(error.what(), HasSubstr("figures.json")) << text;
    }
  }
}

TEST(Forecast, FiguresOfAnotherKindOfJobAreRefused) {
  ForecastOptions options;
  options.shape = {2, 2};
  options.figures = round_figures();
  const auto message_of = [&](const char* backend, bool on_gpu) -> std::string {
    options.figures->backend = backend;
    options.traffic.on_gpu = on_gpu;
    try {
      forecast(gigabyte(), options);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message_of("local", false), HasSubstr("are of one process, and the job has 4"));
  EXPECT_THAT(message_of("nccl over mpi", false), HasSubstr("are of NCCL"));
  EXPECT_THAT(message_of("mpi", true), HasSubstr("are of MPI on CPUs"));
  EXPECT_THAT(message_of("shared memory over store", false), HasSubstr("share one host's memory"));
  EXPECT_EQ(message_of("mpi", false), "");
}

TEST(Forecast, IsOfBothCasesWhereTheFilesDecide) {
  ForecastOptions options;
  options.shape = {2, 2};
  options.bucket_bytes = 1 << 20;
  const auto both = forecast(gigabyte(), options);
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0].traffic.read, TeacherRead::kInTurns);
  EXPECT_EQ(both[1].traffic.read, TeacherRead::kRoot);
  EXPECT_FALSE(both[0].from_page_cache.has_value());
  options.traffic.read = TeacherRead::kRoot;
  options.shape = {2, 3};
  options.figures = round_figures();
  options.figures->link = 0.1e9;
  const auto one = forecast(gigabyte(), options);
  ASSERT_EQ(one.size(), 1U);
  EXPECT_TRUE(one[0].from_disk.has_value());
  const std::string json = to_json(one);
  EXPECT_THAT(json, HasSubstr(R"("first":1,"last":2)"));
  EXPECT_THAT(json, HasSubstr(R"("bottleneck":"link out of a host")"));
}

}  // namespace
}  // namespace fakescore
