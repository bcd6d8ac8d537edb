// Files that torch wrote (tests/data/make_torch_files.py) against what torch itself reads in them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/torch.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "fakescore/error.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/error_of.hpp"
#include "support/teacher_content.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::content_of;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempFolder;
namespace fs = std::filesystem;

const fs::path kFiles = fs::path(FAKESCORE_TEST_DATA) / "torch";

nlohmann::json expected_content() {
  std::ifstream file(kFiles / "expected.json");
  return nlohmann::json::parse(file);
}

std::string refusal_of(const fs::path& path, TeacherPathOptions options = {}) {
  return testing::error_of<TeacherError>([&] { TeacherSource::path(path, options).open(); });
}

std::vector<std::string> expected_entries() {
  std::vector<std::string> entries;
  const nlohmann::json expected = expected_content();
  for (const auto& [entry, content] : expected.items()) {
    if (content.is_object()) entries.push_back(entry);
  }
  return entries;
}

class TorchFile : public ::testing::TestWithParam<std::string> {};

TEST_P(TorchFile, HoldsWhatTorchReads) {
  const std::string& entry = GetParam();
  const size_t mark = entry.find('#');
  TeacherPathOptions options;
  options.key = entry.substr(mark + 1);
  const auto teacher = TeacherSource::path(kFiles / entry.substr(0, mark), options).open();
  EXPECT_EQ(content_of(*teacher), expected_content()[entry]);
}

INSTANTIATE_TEST_SUITE_P(Files, TorchFile, ::testing::ValuesIn(expected_entries()),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& letter : name) letter = std::isalnum(letter) ? letter : '_';
                           return name;
                         });

TEST(TorchFiles, EveryDtypeIsAmongThem) {
  EXPECT_EQ(expected_content()["dtypes.pt#"].size(), 22U);
  EXPECT_EQ(expected_content()["scripted_dtypes.jit#"].size(), 22U);
}

TEST(TorchFiles, ATorchScriptArchiveHasAllThatItsStateDictHas) {
  const auto teacher = TeacherSource::path(kFiles / "scripted.jit").open();
  const auto content = content_of(*teacher);
  const nlohmann::json expected = expected_content();
  for (const auto& name : expected["scripted.jit state_dict"]) {
    EXPECT_TRUE(content.contains(name.get<std::string>())) << name;
  }
}

TEST(TorchFiles, TensorsAreViewsOfTheMappedFileInItsOrder) {
  const auto teacher = TeacherSource::path(kFiles / "layouts.pt").open();
  std::map<std::string, at::Tensor> tensors;
  const char* last = nullptr;
  for (size_t i = 0; i < teacher->tensors().size(); ++i) {
    const std::string& name = teacher->tensors()[i].name;
    const at::Tensor tensor = tensors[name] = teacher->read(i);
    if (name == "conjugate" || name == "negative" || tensor.numel() == 0) continue;  // copies
    const auto* data = static_cast<const char*>(tensor.const_data_ptr());
    EXPECT_LE(last, data) << name;
    last = data;
  }
  EXPECT_EQ(tensors["whole"].const_data_ptr(), tensors["tied"].const_data_ptr());
  EXPECT_EQ(tensors["transposed"].strides(), at::IntArrayRef({1, 6}));
  EXPECT_EQ(tensors["columns"].strides(), at::IntArrayRef({6, 1}));
  EXPECT_TRUE(tensors["channels_last"].is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_EQ(tensors["expanded"].stride(1), 0);
}

TEST(TorchFiles, TensorsOutliveTheTeacher) {
  const at::Tensor first = TeacherSource::path(kFiles / "parameters.pt").open()->read(0);
  EXPECT_TRUE(torch::isfinite(first).all().item<bool>());
}

TEST(TorchFiles, SayWhichFilesTheyAre) {
  const TempFolder folder;
  for (const auto& entry : fs::directory_iterator(kFiles / "sharded_bin")) {
    fs::copy(entry.path(), folder / entry.path().filename().string());
  }
  const auto files = TeacherSource::path(folder.path()).open()->files();
  ASSERT_EQ(files.size(), 3U);
  for (const TeacherFile& file : files) {
    struct stat status {};
    ASSERT_EQ(::stat(file.path.c_str(), &status), 0) << file.path;
    EXPECT_EQ(file.bytes, static_cast<uint64_t>(status.st_size));
    EXPECT_EQ(file.modified_ns, status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec);
  }
  EXPECT_NE(files[1].header, files[2].header);
  const auto again = TeacherSource::path(folder.path()).open()->files();
  for (size_t i = 0; i < files.size(); ++i) EXPECT_EQ(files[i].header, again[i].header);
  save_safetensors(folder / "one.safetensors", {{"x", torch::ones(2)}});
  save_safetensors(folder / "two.safetensors", {{"y", torch::ones(2)}});
  EXPECT_NE(TeacherSource::path(folder / "one.safetensors").open()->files().at(0).header,
            TeacherSource::path(folder / "two.safetensors").open()->files().at(0).header);
}

struct Refusal {
  const char* file;
  const char* key;
  std::vector<std::string> texts;
};

class TorchRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(TorchRefusal, NamesTheFileTheReasonAndWhatToDo) {
  const std::string error = refusal_of(kFiles / GetParam().file, {GetParam().key, "", ""});
  EXPECT_THAT(error, HasSubstr(GetParam().file));
  for (const std::string& text : GetParam().texts) EXPECT_THAT(error, HasSubstr(text));
  EXPECT_FALSE(fs::exists("fakescore_ran_this"));
}

INSTANTIATE_TEST_SUITE_P(
    Files, TorchRefusal,
    ::testing::Values(
        Refusal{"legacy.pt", "", {"before 1.6", "torch.save(torch.load(path"}},
        Refusal{"legacy_3.pt", "", {"before 1.6", "torch.save(torch.load(path"}},
        Refusal{"legacy_4.pt", "", {"before 1.6", "torch.save(torch.load(path"}},
        Refusal{"legacy_5.pt", "", {"before 1.6", "torch.save(torch.load(path"}},
        Refusal{"../wheels/lpips_alex.pth", "", {"before 1.6"}},
        Refusal{"module.pt", "", {"torch.nn.modules.linear.Linear", "model.state_dict()"}},
        Refusal{"system_2.pt", "", {"posix.system"}}, Refusal{"system_4.pt", "", {"posix.system"}},
        Refusal{"eval_2.pt", "", {"__builtin__.eval"}}, Refusal{"eval_4.pt", "", {"builtins.eval"}},
        Refusal{"tensor.pt", "", {"holds a tensor", "state dict"}},
        Refusal{"list.pt", "", {"holds a list"}}, Refusal{"plain.pt", "", {"holds no tensor"}},
        Refusal{"quantized.pt", "", {"tensor q", "is quantized", "dequantize()"}},
        Refusal{"sparse.pt", "", {"tensor s", "is sparse"}},
        Refusal{"meta.pt", "", {"tensor m", "meta device"}},
        Refusal{"beside_quantized.pt", "other", {"tensor q", "is quantized"}},
        Refusal{"frozen.jit", "", {"holds no tensor", "torch.jit.freeze"}},
        Refusal{"nested_2.pt", "", {"model", "ema.params.decay.inner", "optimizer.state.0"}},
        Refusal{"nested_2.pt", "modle", {"no dict under the key modle", "model"}},
        Refusal{"nested_2.pt", "epoch", {"no dict under the key epoch, but a plain value"}},
        Refusal{"nested_2.pt", "model.0.weight", {"no dict under the key"}}),
    [](const auto& test) {
      std::string name = std::string(test.param.file) + "_" + test.param.key;
      for (char& letter : name) letter = std::isalnum(letter) ? letter : '_';
      return name;
    });

TEST(TorchFiles, ADotMeansTheTopWhateverItIs) {
  const auto teacher = TeacherSource::path(kFiles / "nested_4.pt", {".", "", ""}).open();
  const auto content = content_of(*teacher);
  EXPECT_TRUE(content.contains("model.0.weight"));
  EXPECT_TRUE(content.contains("optimizer.state.0.exp_avg"));
  EXPECT_TRUE(content.contains("rng"));
  EXPECT_FALSE(content.contains("history.2"));  // lists are not looked into
}

TEST(TorchFiles, OtherFormatsAreNamed) {
  const TempFolder folder;
  std::string tar(512, '\0');
  tar.replace(257, 5, "ustar");
  std::ofstream(folder / "old.pt") << tar;
  std::ofstream(folder / "plain.pt") << "\x80\x04N.";
  std::ofstream(folder / "text.pt") << "some text that is no checkpoint";
  std::ofstream(folder / "cut.pt", std::ios::binary) << "PK\x03\x04";
  EXPECT_THAT(refusal_of(folder / "old.pt"), HasSubstr("tar archive"));
  EXPECT_THAT(refusal_of(folder / "plain.pt"),
              HasSubstr("a pickle, but not one that torch.save wrote"));
  EXPECT_THAT(refusal_of(folder / "text.pt"), HasSubstr("neither a safetensors file"));
  EXPECT_THAT(refusal_of(folder / "cut.pt"), HasSubstr("not a whole"));
  save_safetensors(folder / "named.pt", {{"x", torch::ones(2)}});  // known by its content
  EXPECT_EQ(refusal_of(folder / "named.pt"), "no error");
  EXPECT_THAT(refusal_of(folder / "named.pt", {"model", "", ""}),
              HasSubstr("does not have the key model"));
}

}  // namespace
}  // namespace fakescore
