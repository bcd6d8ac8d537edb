// A rank holds the model and a few buckets, the root included, whose file is mapped beside it.
#include <gtest/gtest.h>
#include <malloc.h>
#include <torch/torch.h>

#include <algorithm>
#include <fstream>

#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "support/rank_environment.hpp"
#include "support/shard_jobs.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using testing::NamedTensors;
using testing::run_on_every_rank;
using testing::TempFolder;

constexpr int64_t kMegabyte = int64_t{1} << 20;
constexpr int64_t kAllowance = 24 * kMegabyte;

/// Bytes that this process has of its own: neither files nor shared memory.
int64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int64_t kibibytes = 0;
  while (status >> word) {
    if (word == "RssAnon:" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

constexpr int kLayers = 8;

/// 128 MiB; with `tie` one more name, for a tensor that is there already.
std::shared_ptr<torch::nn::Module> build_layers(bool tie) {
  auto module = std::make_shared<torch::nn::Module>();
  for (int i = 0; i < kLayers; ++i) {
    module->register_parameter("layer" + std::to_string(i), torch::randn({1024, 4096}));
  }
  if (tie) module->register_parameter("tied", module->named_parameters()["layer0"]);
  return module;
}

void write_teacher(const std::filesystem::path& path, at::ScalarType dtype, bool tie) {
  NamedTensors tensors;
  for (int i = 0; i < kLayers; ++i) {
    tensors.push_back({"layer" + std::to_string(i), torch::full({1024, 4096}, i + 1, dtype)});
  }
  if (tie) tensors.push_back({"tied", tensors.front().tensor});
  save_safetensors(path, tensors);
}

void expect_model_and_little_more(at::ScalarType dtype, bool tie, bool all_read = false) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "a sanitizer keeps memory of its own";
#endif
  run_on_every_rank([&](Communicator& communicator) {
    const TempFolder folder;
    const auto path = folder / "teacher.safetensors";
    const bool reads = communicator.rank() == 0 || all_read;
    if (reads) write_teacher(path, dtype, tie);
    // Every rank has a file of its own, which is the same to it.
    if (reads) std::filesystem::last_write_time(path, std::filesystem::file_time_type());
    const auto source = reads ? TeacherSource::path(path) : TeacherSource::path("/nonexistent");
    ::malloc_trim(0);
    communicator.all_gather("", "teacher written");
    const int64_t before = anonymous_bytes();
    int64_t most = 0;
    const auto sample = [&] { most = std::max(most, anonymous_bytes() - before); };
    MetaOptions options;
    options.read = all_read ? TeacherRead::kEveryRank : TeacherRead::kRoot;
    options.progress = [&](const Progress&) { sample(); };
    const auto result =
        create_fake_score_meta([&] { return build_layers(tie); }, source, communicator, options);
    sample();
    const int64_t model = kLayers * 1024 * 4096 * 4;
    // Pages that were free before are taken first.
    EXPECT_GE(most, model - kMegabyte) << "not a measurement";
    EXPECT_LE(most, model + kAllowance) << (most - model) / kMegabyte << " MiB beside the model";
    EXPECT_EQ(result.module->named_parameters()["layer3"][7][7].item<float>(), 4);
  });
}

TEST(Memory, OfAPlainTeacher) { expect_model_and_little_more(torch::kFloat, /*tie=*/false); }

TEST(Memory, OfATeacherThatIsCast) {
  expect_model_and_little_more(torch::kBFloat16, /*tie=*/false);
}

TEST(Memory, OfATeacherThatEveryRankReads) {
  expect_model_and_little_more(torch::kFloat, /*tie=*/false, /*all_read=*/true);
}

TEST(Memory, OfATeacherWithATie) { expect_model_and_little_more(torch::kFloat, /*tie=*/true); }

/// Who has what in a job whose ranks keep parts by columns.
enum class PartsOf { kRootsFile, kTeacherByRows };

/// The parts have their memory: what comes on top are buckets, on the root as well.
void expect_buckets_alone(PartsOf parts) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "a sanitizer keeps memory of its own";
#endif
  run_on_every_rank([&](Communicator& communicator) {
    const TempFolder folder;
    const auto path = folder / "teacher.safetensors";
    const bool reads = communicator.rank() == 0 && parts == PartsOf::kRootsFile;
    if (reads) write_teacher(path, torch::kFloat, /*tie=*/false);
    const std::vector<int64_t> sizes{1024, 4096};
    FillTarget target;
    NamedTensors teacher;
    for (int i = 0; i < kLayers; ++i) {
      const std::string name = "layer" + std::to_string(i);
      target.tensors.push_back(testing::shard(name, sizes, testing::chunk(sizes, 1, communicator)));
      if (parts == PartsOf::kRootsFile) continue;
      teacher.push_back(testing::shard(name, sizes, testing::chunk(sizes, 0, communicator)));
      teacher.back().tensor.fill_(i + 1);
    }
    const auto source = parts == PartsOf::kTeacherByRows ? TeacherSource::state_dict(teacher)
                        : reads                          ? TeacherSource::path(path)
                                                         : TeacherSource::path("/nonexistent");
    ::malloc_trim(0);
    communicator.all_gather("", "teacher written");
    const int64_t before = anonymous_bytes();
    int64_t most = 0;
    FillOptions options;
    options.progress = [&](const Progress&) { most = std::max(most, anonymous_bytes() - before); };
    fill_tensors(target, source, communicator, options);
    EXPECT_GT(most, 0) << "not a measurement";
    // 4 buckets of 8 MiB each way, of which the root sends and the others receive all that is not
    // their own.
    EXPECT_LE(most, 64 * kMegabyte + kAllowance) << most / kMegabyte << " MiB beside the parts";
    EXPECT_EQ(target.tensors[3].tensor[7][7].item<float>(), 4);
  });
}

TEST(Memory, OfPartsOfARootsFile) { expect_buckets_alone(PartsOf::kRootsFile); }

TEST(Memory, OfPartsOfATeacherInOtherParts) { expect_buckets_alone(PartsOf::kTeacherByRows); }

}  // namespace
}  // namespace fakescore
