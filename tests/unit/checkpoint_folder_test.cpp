// How a checkpoint is found in a folder: names, variants, subfolders.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>

#include "fakescore/error.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/checkpoint_files.hpp"
#include "support/error_of.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::CheckpointFolderFixture;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

const fs::path kFolders = fs::path(FAKESCORE_TEST_DATA) / "torch";

class CheckpointFolder : public CheckpointFolderFixture {};

TEST_F(CheckpointFolder, EachLibrarysNamesComeInItsOrder) {
  // From the last to the first: each hides those before it.
  put("any.pt");
  EXPECT_EQ(found(), "any.pt");
  for (const std::string name : {"pytorch_model.bin", "model.safetensors"}) {
    put(name);
    EXPECT_EQ(found(), name);
  }
  const testing::TempFolder folder;
  for (const std::string name :
       {"diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"}) {
    save_safetensors(folder / name, {{name, torch::ones(1)}});
    EXPECT_EQ(TeacherSource::path(folder.path()).open()->tensors().at(0).name, name);
  }
}

TEST_F(CheckpointFolder, TransformersTakesTheWholeFileBeforeItsIndex) {
  put("shard");
  put_index("pytorch_model.bin.index.json", "shard");
  EXPECT_EQ(found(), "shard");
  put("pytorch_model.bin");
  EXPECT_EQ(found(), "pytorch_model.bin");
  put("other");
  put_index("model.safetensors.index.json", "other");
  EXPECT_EQ(found(), "other");
  put("model.safetensors");
  EXPECT_EQ(found(), "model.safetensors");
}

TEST_F(CheckpointFolder, AVariantIsTakenWhereItIsAskedFor) {
  put("model.safetensors");
  put("model.fp16.safetensors");
  put("pytorch_model.ema.bin");
  put("a-shard");
  put("b-shard");
  put("c-shard");
  put_index("diffusion_pytorch_model.safetensors.index.bf16.json", "a-shard");
  put_index("diffusion_pytorch_model.fp8.safetensors.index.json", "b-shard");
  put_index("diffusion_pytorch_model.safetensors.old.index.json", "c-shard");
  EXPECT_EQ(found(), "model.safetensors");
  EXPECT_EQ(found("fp16"), "model.fp16.safetensors");
  EXPECT_EQ(found("ema"), "pytorch_model.ema.bin");
  EXPECT_EQ(found("bf16"), "a-shard");
  EXPECT_EQ(found("fp8"), "b-shard");
  EXPECT_EQ(found("old"), "c-shard");
  EXPECT_THAT(found("int4"), AllOf(HasSubstr("no checkpoint of the variant int4"),
                                   HasSubstr("bf16, ema, fp16, fp8, old")));
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

TEST_F(CheckpointFolder, WhatCannotBeLookedAtIsNotInTheWay) {
  put("model.safetensors");
  fs::create_symlink("loop", folder_ / "loop");
  fs::create_symlink("loop", folder_ / "config.json");
  fs::create_symlink("nowhere", folder_ / "README.md");
  fs::create_directory(folder_ / "old.safetensors");
  EXPECT_EQ(found(), "model.safetensors");
  EXPECT_THAT(passed_over(), IsEmpty());
}

TEST_F(CheckpointFolder, APathOfItsOwnPassesNothingOver) {
  put("model.safetensors");
  put("other.safetensors");
  EXPECT_THAT(passed_over(), ElementsAre("other.safetensors"));
  const auto choice = TeacherSource::path(folder_ / "other.safetensors").open()->choice();
  EXPECT_EQ(choice.taken, (folder_ / "other.safetensors").string());
  EXPECT_THAT(choice.passed_over, IsEmpty());
}

TEST_F(CheckpointFolder, ARenamedTeacherKeepsItsChoice) {
  put("model.safetensors");
  put("other.safetensors");
  const auto teacher = TeacherSource::path(folder_.path()).rename_keys({"model=net"}).open();
  EXPECT_EQ(teacher->choice().taken, (folder_ / "model.safetensors").string());
  EXPECT_EQ(teacher->choice().passed_over.size(), 1U);
}

TEST_F(CheckpointFolder, WithoutWeightsItSaysWhatItHolds) {
  std::ofstream(folder_ / "model.onnx") << "x";
  std::ofstream(folder_ / "model.safetensors.incomplete") << "x";
  EXPECT_THAT(found(), HasSubstr("its files: model.onnx, model.safetensors.incomplete"));
  std::ofstream(folder_ / "__0_0.distcp") << "x";
  EXPECT_THAT(found(), AllOf(HasSubstr("no .metadata"), HasSubstr("the save did not end")));
}

}  // namespace
}  // namespace fakescore
