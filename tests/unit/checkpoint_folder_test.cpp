// How a checkpoint is found in a folder: names, variants, subfolders.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>

#include "fakescore/core/error.hpp"
#include "fakescore/core/teacher_source.hpp"
#include "support/error_of.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TempFolder;
namespace fs = std::filesystem;

const fs::path kFolders = fs::path(FAKESCORE_TEST_DATA) / "torch";

class CheckpointFolder : public ::testing::Test {
 protected:
  /// A file whose one tensor is named as the file.
  void put(const std::string& name) {
    fs::create_directories((folder_ / name).parent_path());
    save_safetensors(folder_ / name, {{name, torch::ones(1)}});
  }
  void put_index(const std::string& name, const std::string& shard) {
    std::ofstream(folder_ / name) << R"({"weight_map":{")" << shard << R"(":")" << shard << "\"}}";
  }
  /// The name of the one tensor that is found, or the error.
  std::string found(const std::string& variant = "", const std::string& subfolder = "") {
    std::string name;
    const std::string error = testing::error_of<TeacherError>([&] {
      const auto teacher = TeacherSource::path(folder_.path(), {"", variant, subfolder}).open();
      name = teacher->tensors().at(0).name;
    });
    return error == "no error" ? name : error;
  }
  TempFolder folder_;
};

TEST_F(CheckpointFolder, UsualNamesComeInTheirOrder) {
  // From the last to the first: each hides those before it.
  for (const std::string name :
       {"any.pt", "any.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.bin",
        "model.safetensors", "diffusion_pytorch_model.safetensors"}) {
    put(name);
    EXPECT_EQ(found(), name);
  }
}

TEST_F(CheckpointFolder, AnIndexComesAfterTheWholeFile) {
  put("shard");
  put_index("pytorch_model.bin.index.json", "shard");
  EXPECT_EQ(found(), "shard");
  put("pytorch_model.bin");
  EXPECT_EQ(found(), "pytorch_model.bin");
  put("other");
  put_index("model.safetensors.index.json", "other");
  EXPECT_EQ(found(), "other");
}

TEST_F(CheckpointFolder, AVariantIsTakenWhereItIsAskedFor) {
  put("model.safetensors");
  put("model.fp16.safetensors");
  put("pytorch_model.ema.bin");
  put("a-shard");
  put("b-shard");
  put_index("diffusion_pytorch_model.safetensors.index.bf16.json", "a-shard");
  put_index("diffusion_pytorch_model.fp8.safetensors.index.json", "b-shard");
  EXPECT_EQ(found(), "model.safetensors");
  EXPECT_EQ(found("fp16"), "model.fp16.safetensors");
  EXPECT_EQ(found("ema"), "pytorch_model.ema.bin");
  EXPECT_EQ(found("bf16"), "a-shard");
  EXPECT_EQ(found("fp8"), "b-shard");
  EXPECT_THAT(found("int4"), AllOf(HasSubstr("no checkpoint of the variant int4"),
                                   HasSubstr("bf16, ema, fp16, fp8")));
}

TEST_F(CheckpointFolder, SeveralOfOtherNamesAreNamed) {
  put("one.pt");
  EXPECT_EQ(found(), "one.pt");
  put("two.pth");
  EXPECT_THAT(found(), AllOf(HasSubstr("several checkpoints"), HasSubstr("one.pt, two.pth")));
}

TEST_F(CheckpointFolder, APipelineWantsItsSubfolder) {
  put("transformer/diffusion_pytorch_model.safetensors");
  put("vae/diffusion_pytorch_model.safetensors");
  fs::create_directory(folder_ / "scheduler");
  std::ofstream(folder_ / "model_index.json") << "{}";
  put("all_in_one.safetensors");
  EXPECT_THAT(found(), AllOf(HasSubstr("pipeline"), HasSubstr("transformer, vae")));
  EXPECT_EQ(found("", "transformer"), "transformer/diffusion_pytorch_model.safetensors");
  EXPECT_THAT(found("", "unet"),
              AllOf(HasSubstr("no subfolder unet"), HasSubstr("transformer, vae")));
  EXPECT_THAT(found("", "../x"), HasSubstr("no subfolder"));
  EXPECT_THAT(found("", "/etc"), HasSubstr("no subfolder"));
  EXPECT_THAT(found("", "scheduler"), HasSubstr("holds no .safetensors"));
}

TEST_F(CheckpointFolder, AFolderAboveNamesThoseWithWeights) {
  put("deep/model.safetensors");
  EXPECT_THAT(found(), AllOf(HasSubstr("holds no .safetensors"), HasSubstr("with weights: deep")));
}

TEST_F(CheckpointFolder, ASubfolderThatCannotBeLookedIntoHidesNoError) {
  put("transformer/model.safetensors");
  fs::create_directory(folder_ / "lost+found");
  fs::create_symlink("loop", folder_ / "lost+found" / "loop");  // for root as well
  EXPECT_THAT(found(), HasSubstr("subfolders with weights: transformer"));
  EXPECT_THAT(found("", "unet"), HasSubstr("subfolders with weights: transformer"));
}

TEST_F(CheckpointFolder, OptionsOfFoldersAreRefusedForAFile) {
  put("one.pt");
  const auto error = testing::error_of<TeacherError>([&] {
    TeacherSource::path(folder_ / "one.pt", {"", "fp16", ""}).open();
  });
  EXPECT_THAT(error, HasSubstr("is a file"));
}

TEST_F(CheckpointFolder, ShardsOfTorchAreReadThroughTheirIndex) {
  for (const auto& entry : fs::directory_iterator(kFolders / "sharded_bin")) {
    fs::copy(entry.path(), folder_ / entry.path().filename().string());
  }
  EXPECT_EQ(found(), "a");
  put_index("pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin");
  EXPECT_THAT(found(), HasSubstr("does not say so"));
}

}  // namespace
}  // namespace fakescore
