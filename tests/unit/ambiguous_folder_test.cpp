// A folder that can mean two things: what is taken and said, or which error names the candidates.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/teacher/save_safetensors.hpp"
#include "support/checkpoint_files.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::CheckpointFolderFixture;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

const fs::path kBesideOthers = fs::path(FAKESCORE_TEST_DATA) / "dcp";

class AmbiguousFolder : public CheckpointFolderFixture {
 protected:
  /// Numbered shards, and their index where it has a name.
  void put_shards(const std::string& stem, int count, const std::string& index = "",
                  const std::string& ending = ".safetensors") {
    std::vector<std::string> shards;
    for (int i = 1; i <= count; ++i) {
      shards.push_back(stem + "-0000" + std::to_string(i) + "-of-0000" + std::to_string(count) +
                       ending);
      put(shards.back());
    }
    if (!index.empty()) put_index(index, shards);
  }
  std::string open_error(const std::string& name) {
    return error_of<TeacherError>([&] { TeacherSource::path(folder_ / name).open(); });
  }
};

TEST_F(AmbiguousFolder, DiffusersReadsTheIndexBeforeAStrayFile) {
  put_shards("diffusion_pytorch_model", 2, "diffusion_pytorch_model.safetensors.index.json");
  put("diffusion_pytorch_model.safetensors");
  EXPECT_EQ(taken(), "diffusion_pytorch_model.safetensors.index.json");
  EXPECT_THAT(passed_over(), ElementsAre("diffusion_pytorch_model.safetensors"));
}

TEST_F(AmbiguousFolder, TransformersReadsTheFileBeforeAStrayIndex) {
  put_shards("model", 2, "model.safetensors.index.json");
  put("model.safetensors");
  EXPECT_EQ(taken(), "model.safetensors");
  EXPECT_THAT(passed_over(),
              ElementsAre("model-*-of-00002.safetensors", "model.safetensors.index.json"));
}

TEST_F(AmbiguousFolder, AStaleIndexWhoseShardsAreGoneIsAnError) {
  put_shards("diffusion_pytorch_model", 2, "diffusion_pytorch_model.safetensors.index.json");
  put("diffusion_pytorch_model.safetensors");
  fs::remove(folder_ / "diffusion_pytorch_model-00002-of-00002.safetensors");
  EXPECT_THAT(found(),
              AllOf(HasSubstr("index.json: names 2 files, of which 1 cannot be reached: "
                              "diffusion_pytorch_model-00002-of-00002.safetensors"),
                    HasSubstr("--teacher '" +
                              (folder_ / "diffusion_pytorch_model.safetensors").string() + "'")));
  EXPECT_EQ(open_error("diffusion_pytorch_model.safetensors"), "no error");
}

TEST_F(AmbiguousFolder, SafetensorsComeBeforeBinOfEachLibrary) {
  put("model.safetensors");
  put("pytorch_model.bin");
  EXPECT_EQ(taken(), "model.safetensors");
  EXPECT_THAT(passed_over(), ElementsAre("pytorch_model.bin"));
}

TEST_F(AmbiguousFolder, TwoOfBinAreAnErrorWhereDiffusersTakesNowTheOneNowTheOther) {
  put_shards("diffusion_pytorch_model", 2, "diffusion_pytorch_model.bin.index.json", ".bin");
  EXPECT_EQ(taken(), "diffusion_pytorch_model.bin.index.json");
  put("diffusion_pytorch_model.bin");
  EXPECT_THAT(found(),
              AllOf(HasSubstr("both diffusion_pytorch_model.bin and"),
                    HasSubstr("diffusion_pytorch_model.bin.index.json"), HasSubstr("--teacher '")));
}

TEST_F(AmbiguousFolder, ALinkOfThePreferredNameThatLeadsNowhereIsAnError) {
  put_link("model.safetensors");
  put("pytorch_model.bin");
  EXPECT_THAT(found(), AllOf(HasSubstr("model.safetensors: cannot be read: it is a link to "
                                       "../blobs/of-model.safetensors"),
                             HasSubstr("pytorch_model.bin'")));
  EXPECT_EQ(open_error("pytorch_model.bin"), "no error");
}

TEST_F(AmbiguousFolder, ALinkThatLeadsNowhereBehindTheTakenFileIsPassedOver) {
  put("model.safetensors");
  put_link("pytorch_model.bin");
  EXPECT_EQ(taken(), "model.safetensors");
  EXPECT_THAT(passed_over(), ElementsAre("pytorch_model.bin"));
}

TEST_F(AmbiguousFolder, ALinkThatLeadsNowhereIsNotPassedOverForAnotherName) {
  put_link("ema.safetensors");
  EXPECT_THAT(found(), HasSubstr("ema.safetensors: cannot be read: it is a link"));
  put("net.pt");
  EXPECT_THAT(found(), HasSubstr("several checkpoints: net.pt, ema.safetensors"));
}

TEST_F(AmbiguousFolder, TheConfigurationSaysWhoseNamesCount) {
  put("model.safetensors");
  put("diffusion_pytorch_model.bin");
  EXPECT_THAT(found(),
              AllOf(HasSubstr("diffusers (diffusion_pytorch_model.bin)"),
                    HasSubstr("transformers (model.safetensors)"),
                    HasSubstr("no config.json that says whose"), HasSubstr("--teacher '")));
  put_config(R"({"_class_name":"WanModel","model_type":"t2v"})");
  EXPECT_EQ(taken(), "diffusion_pytorch_model.bin");
  EXPECT_THAT(passed_over(), ElementsAre("model.safetensors"));
  put_config(R"({"architectures":["CLIPTextModel"],"model_type":"clip"})");
  EXPECT_EQ(taken(), "model.safetensors");
  put_config("not JSON");
  EXPECT_THAT(found(), HasSubstr("says whose"));
}

TEST_F(AmbiguousFolder, TransformersWeightsOfTheConfigurationComeFirst) {
  put("model.safetensors");
  put("model.fp16.safetensors");
  put("quantized.safetensors");
  put_config(R"({"model_type":"clip","transformers_weights":"quantized.safetensors"})");
  EXPECT_EQ(taken(), "quantized.safetensors");
  EXPECT_EQ(taken("fp16"), "model.fp16.safetensors");
  for (const char* name : {"none.safetensors", "../model.safetensors", ""}) {
    put_config(R"({"model_type":"clip","transformers_weights":")" + std::string(name) + "\"}");
    if (std::string(name).empty()) {
      EXPECT_EQ(taken(), "model.safetensors");
    } else {
      EXPECT_THAT(found(), AllOf(HasSubstr("config.json"), HasSubstr(name)));
    }
  }
}

TEST_F(AmbiguousFolder, FilesOfOtherNamesArePassedOver) {
  put_shards("model", 2, "model.safetensors.index.json");
  put("consolidated.safetensors");
  put("training_args.bin");
  put("model.fp16.safetensors");
  EXPECT_EQ(taken(), "model.safetensors.index.json");
  EXPECT_THAT(passed_over(), ElementsAre("consolidated.safetensors", "model.fp16.safetensors",
                                         "training_args.bin"));
}

TEST_F(AmbiguousFolder, SeveralOfNoLibraryAreAnErrorThatNamesThem) {
  put_shards("net", 2, "net.safetensors.index.json");
  EXPECT_EQ(taken(), "net.safetensors.index.json");
  put("net.pt");
  EXPECT_THAT(found(), AllOf(HasSubstr("several checkpoints: net.safetensors.index.json, net.pt"),
                             HasSubstr("net.safetensors.index.json'")));
  put_index("old.bin.index.json", "net.pt");
  EXPECT_THAT(found(), HasSubstr("net.safetensors.index.json, old.bin.index.json"));
}

TEST_F(AmbiguousFolder, VariantsAloneAreNamedWithTheirOption) {
  put("model.fp16.safetensors");
  EXPECT_EQ(taken(), "model.fp16.safetensors");
  put("model.bf16.safetensors");
  EXPECT_THAT(found(), AllOf(HasSubstr("model.bf16.safetensors, model.fp16.safetensors"),
                             HasSubstr("--variant bf16")));
  EXPECT_EQ(taken("fp16"), "model.fp16.safetensors");
  EXPECT_THAT(passed_over("fp16"), ElementsAre("model.bf16.safetensors"));
}

TEST_F(AmbiguousFolder, ShardsWithoutAnIndexArePutTogether) {
  put_shards("diffusion_pytorch_model", 3);
  const auto teacher = TeacherSource::path(folder_.path()).open();
  EXPECT_EQ(teacher->tensors().size(), 3U);
  EXPECT_EQ(teacher->files().size(), 3U);
  EXPECT_EQ(taken(), "diffusion_pytorch_model-*-of-00003.safetensors");
  EXPECT_THAT(passed_over(), IsEmpty());
}

TEST_F(AmbiguousFolder, ShardsWithoutAnIndexThatAreNotCompleteAreAnError) {
  put_shards("model", 3);
  fs::remove(folder_ / "model-00002-of-00003.safetensors");
  EXPECT_THAT(found(), AllOf(HasSubstr("has no index (model.safetensors.index.json)"),
                             HasSubstr("2 of 3 are there"),
                             HasSubstr("missing are model-00002-of-00003.safetensors")));
  // One shard alone, by its own path.
  EXPECT_EQ(open_error("model-00001-of-00003.safetensors"), "no error");
  fs::remove(folder_ / "model-00003-of-00003.safetensors");
  EXPECT_THAT(found(), HasSubstr("1 of 3 are there"));
}

TEST_F(AmbiguousFolder, ShardsWithoutAnIndexThatHoldOneNameTwiceAreAnError) {
  save_safetensors(folder_ / "model-00001-of-00002.safetensors", {{"w", torch::ones(1)}});
  save_safetensors(folder_ / "model-00002-of-00002.safetensors", {{"w", torch::zeros(1)}});
  EXPECT_THAT(found(), AllOf(HasSubstr("model-00002-of-00002.safetensors, tensor w"),
                             HasSubstr("model-00001-of-00002.safetensors as well"),
                             HasSubstr("the index that would say which is meant is missing")));
}

TEST_F(AmbiguousFolder, SetsOfShardsAreChosenByTheNameThatTheyShare) {
  put_shards("net", 2);
  put_shards("net", 3);
  put("ema.pt");
  EXPECT_THAT(found(), HasSubstr("several checkpoints: net-*-of-00002.safetensors, "
                                 "net-*-of-00003.safetensors, ema.pt"));
  const auto chosen = TeacherSource::path(folder_ / "net-*-of-00003.safetensors").open();
  EXPECT_EQ(chosen->tensors().size(), 3U);
  EXPECT_EQ(chosen->choice().taken, (folder_ / "net-*-of-00003.safetensors").string());
  EXPECT_THAT(open_error("net-*-of-00004.safetensors"), HasSubstr("no set of numbered shards"));
}

TEST_F(AmbiguousFolder, ShardsOfAVariantWithoutAnIndexArePutTogether) {
  put_shards("model.fp16", 2);
  put("model.safetensors");
  EXPECT_EQ(taken(), "model.safetensors");
  EXPECT_EQ(taken("fp16"), "model.fp16-*-of-00002.safetensors");
  put_shards("diffusion_pytorch_model", 2, "", ".bf16.safetensors");
  EXPECT_EQ(taken("bf16"), "diffusion_pytorch_model-*-of-00002.bf16.safetensors");
  EXPECT_THAT(found("fp8"), HasSubstr("its variants: bf16, fp16"));
}

TEST_F(AmbiguousFolder, NumbersThatAreNotThoseOfASetAreNoSet) {
  put("a-00000-of-00001.safetensors");
  EXPECT_THAT(found(), HasSubstr("is not complete"));
  fs::remove(folder_ / "a-00000-of-00001.safetensors");
  put("a-1-of-2.safetensors");
  put("a-01-of-2.safetensors");
  EXPECT_THAT(found(), HasSubstr("has the number of another"));
}

TEST_F(AmbiguousFolder, ADistributedCheckpointBesideAnotherIsAnError) {
  fs::copy(kBesideOthers / "nested", folder_.path());
  put("common.pt");  // as Megatron and Lightning write beside it
  EXPECT_EQ(taken(), ".metadata");
  EXPECT_THAT(passed_over(), ElementsAre("common.pt"));
  put("model.safetensors");
  EXPECT_THAT(found(), AllOf(HasSubstr("(.metadata) and another one beside it (model.safetensors)"),
                             HasSubstr(".metadata' or --teacher '")));
  EXPECT_EQ(open_error(".metadata"), "no error");
  EXPECT_EQ(open_error("model.safetensors"), "no error");
}

TEST_F(AmbiguousFolder, SharesOfRanksBesideAnotherCheckpointAreAnError) {
  fs::copy(kBesideOthers / "hf_shards", folder_.path());
  EXPECT_EQ(taken(), "shard-*.safetensors");
  EXPECT_THAT(passed_over(), IsEmpty());
  put("model-00001-of-00001.safetensors");
  EXPECT_THAT(found(), AllOf(HasSubstr("another one beside it (model-*-of-00001.safetensors)"),
                             HasSubstr("a folder of their own")));
}

TEST_F(AmbiguousFolder, ALinkOfTheMetadataThatLeadsNowhereIsAnError) {
  put_link(".metadata");
  put("model.safetensors");
  EXPECT_THAT(found(), AllOf(HasSubstr(".metadata: cannot be read: it is a link"),
                             HasSubstr("model.safetensors'")));
}

}  // namespace
}  // namespace fakescore
