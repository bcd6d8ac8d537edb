// What lies beside the weights in PyTorch's files, and archives that torch.save does not write
// against what torch.load makes of them: tests/data/make_training_files.py,
// make_odd_torch_files.py.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "fakescore/error.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/error_of.hpp"
#include "support/teacher_content.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::content_of;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

const fs::path kTrainingFiles = fs::path(FAKESCORE_TEST_DATA) / "torch_training";
const fs::path kOddFiles = fs::path(FAKESCORE_TEST_DATA) / "torch_odd";

std::vector<std::string> files_of(const fs::path& folder, const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".pt" && name.starts_with(prefix)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::unique_ptr<Teacher> open_under(const fs::path& file, const std::string& key) {
  return TeacherSource::path(file, {key, "", ""}).open();
}

std::string error_under(const fs::path& file, const std::string& key) {
  return testing::error_of<TeacherError>([&] { open_under(file, key); });
}

const nlohmann::json& trained_weights() {
  static const nlohmann::json weights{{"w", {"float32", {2}, "0000803f00000040"}},
                                      {"b", {"float32", {1}, "00004040"}}};
  return weights;
}

class TrainingFile : public ::testing::TestWithParam<std::string> {};

TEST_P(TrainingFile, HoldsItsWeightsWhateverLiesBeside) {
  const auto teacher = open_under(kTrainingFiles / (GetParam() + ".pt"), "model");
  EXPECT_EQ(content_of(*teacher), trained_weights());
}

/// The optimizer's state has numbers and tensors alone.
TEST_P(TrainingFile, HoldsEachOfItsDicts) {
  const auto teacher = open_under(kTrainingFiles / (GetParam() + ".pt"), "optimizer.state.0");
  EXPECT_EQ(teacher->tensors().size(), 3U);
}

TEST_P(TrainingFile, IsReadAsAWholeByNobody) {
  const fs::path file = kTrainingFiles / (GetParam() + ".pt");
  EXPECT_THAT(error_under(file, ""), HasSubstr("give one of these keys: model, optimizer.state.0"));
  EXPECT_THAT(error_under(file, "."),
              AllOf(HasSubstr("torch.optim.adamw.AdamW under the key optimizer_object"),
                    HasSubstr("neither a tensor nor a plain container")));
  EXPECT_THAT(error_under(file, "args"),
              HasSubstr("no dict under the key args, but argparse.Namespace"));
}

INSTANTIATE_TEST_SUITE_P(Files, TrainingFile,
                         ::testing::ValuesIn(files_of(kTrainingFiles, "training")),
                         [](const auto& test) { return test.param; });

class PlainFile : public ::testing::TestWithParam<std::string> {};

TEST_P(PlainFile, IsReadAsAWhole) {
  const fs::path file = kTrainingFiles / (GetParam() + ".pt");
  EXPECT_EQ(content_of(*open_under(file, "model")), trained_weights());
  EXPECT_EQ(open_under(file, ".")->tensors().size(), 2U);
}

INSTANTIATE_TEST_SUITE_P(Files, PlainFile, ::testing::ValuesIn(files_of(kTrainingFiles, "plain")),
                         [](const auto& test) { return test.param; });

struct ForeignObject {
  const char* file;
  std::vector<std::string> texts;
};

class ForeignObjects : public ::testing::TestWithParam<ForeignObject> {};

TEST_P(ForeignObjects, InAStateDictAreNamedWithTheirKey) {
  const std::string error =
      error_under(kTrainingFiles / (std::string("inside_") + GetParam().file + ".pt"), "net");
  for (const std::string& text : GetParam().texts) EXPECT_THAT(error, HasSubstr(text));
}

INSTANTIATE_TEST_SUITE_P(
    Files, ForeignObjects,
    ::testing::Values(
        ForeignObject{"value", {"argparse.Namespace under the key net.args", "state_dict()"}},
        ForeignObject{"list", {"argparse.Namespace under the key net.history"}},
        ForeignObject{"key", {"__main__.Precision under the key net"}},
        ForeignObject{"class", {"argparse.Namespace under the key net.cls"}},
        ForeignObject{"numpy", {"scalar under the key net.scale", "torch.as_tensor(value)"}},
        ForeignObject{"deep", {"argparse.Namespace under the key net.encoder.args"}},
        ForeignObject{"container", {"no dict under the key net, but __main__.Config"}}),
    [](const auto& test) { return test.param.file; });

struct TensorClass {
  const char* file;
  std::vector<std::string> texts;
};

class TensorClasses : public ::testing::TestWithParam<TensorClass> {};

TEST_P(TensorClasses, AreRefusedWithARemedyThatWorks) {
  const fs::path file = kTrainingFiles / (std::string("class_") + GetParam().file + ".pt");
  for (const std::string& text : GetParam().texts)
    EXPECT_THAT(error_under(file, ""), HasSubstr(text));
  for (const std::string& text : GetParam().texts)
    EXPECT_THAT(error_under(file, "."), HasSubstr(text));
}

INSTANTIATE_TEST_SUITE_P(
    Files, TensorClasses,
    ::testing::Values(
        TensorClass{"dtensor",
                    {"tensor blocks.0.w: is of the class torch.distributed.tensor.DTensor",
                     "value.full_tensor()", "full_state_dict=True"}},
        TensorClass{"subclass",
                    {"tensor w: is of the class __main__.Tagged, a subclass of Tensor",
                     "value.detach().as_subclass(torch.Tensor)"}},
        TensorClass{"parameter",
                    {"tensor w: is of the class __main__.TaggedParameter, a subclass of Tensor",
                     "value.detach().as_subclass(torch.Tensor)"}},
        TensorClass{"wrapper",
                    {"tensor w: is of the class __main__.Halved", "value.dequantize()"}}),
    [](const auto& test) { return test.param.file; });

TEST(TensorClasses, TheirRemedyGivesAFileThatIsRead) {
  EXPECT_EQ(content_of(*open_under(kTrainingFiles / "remedied.pt", "")), trained_weights());
}

nlohmann::json torch_content() {
  std::ifstream file(kOddFiles / "expected.json");
  return nlohmann::json::parse(file);
}

class OddFile : public ::testing::TestWithParam<std::string> {};

/// Never another value than torch's: the same, or an error.
TEST_P(OddFile, IsReadAsTorchReadsItOrRefused) {
  const nlohmann::json expected = torch_content().at(GetParam());
  const std::string error = error_under(kOddFiles / (GetParam() + ".pt"), ".");
  if (error == "no error") {
    EXPECT_EQ(content_of(*open_under(kOddFiles / (GetParam() + ".pt"), ".")), expected["torch"]);
    return;
  }
  EXPECT_FALSE(expected["must_read"].get<bool>()) << error;
  EXPECT_THAT(error, Not(HasSubstr("another class")));
}

INSTANTIATE_TEST_SUITE_P(Files, OddFile, ::testing::ValuesIn(files_of(kOddFiles, "")),
                         [](const auto& test) { return test.param; });

TEST(OddFiles, AllOfThemAreExpected) {
  EXPECT_EQ(torch_content().size(), files_of(kOddFiles, "").size());
  EXPECT_GT(torch_content().size(), 90U);
}

}  // namespace
}  // namespace fakescore
