#include "sampler.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "contact_sheet.hpp"
#include "fakescore/models/registry.hpp"
#include "support/load_teacher.hpp"
#include "support/temp_folder.hpp"

namespace fakescore::digits {
namespace {

const std::filesystem::path kModel =
    std::filesystem::path(FAKESCORE_SOURCE_DIR) / "examples/digits";
const std::filesystem::path kData = FAKESCORE_TEST_DATA;

std::shared_ptr<DiTTransformer2DModel> trained_model() {
  auto model = std::dynamic_pointer_cast<DiTTransformer2DModel>(
      build_teacher_from_config(kModel / "config.json"));
  fakescore::testing::load_weights(*model, kModel / "diffusion_pytorch_model.safetensors");
  return model;
}

double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

/// The digit whose mean image is nearest.
torch::Tensor classify(const torch::Tensor& images, const torch::Tensor& means) {
  return torch::cdist(images.flatten(1), means).argmin(1);
}

TEST(Sampler, DrawsWhatDiffusersDraws) {
  const auto data = fakescore::testing::read_tensors(kData / "digits_means.safetensors");
  EXPECT_LE(largest_difference(alphas_cumprod(), data.at("ddim.alphas_cumprod")), 1e-6);
  const auto model = trained_model();
  const torch::Tensor sample = denoise(*model, data.at("ddim.noise"), data.at("ddim.labels"),
                                       data.at("ddim.steps").item<int64_t>());
  EXPECT_LE(largest_difference(sample, data.at("ddim.sample")), 1e-4);
}

TEST(Sampler, DigitsAreTheOnesAskedFor) {
  const auto data = fakescore::testing::read_tensors(kData / "digits_means.safetensors");
  const auto model = trained_model();
  const torch::Tensor labels = torch::arange(10).repeat({20});
  const torch::Tensor images = sample_digits(*model, labels, 30, 1);
  EXPECT_EQ(images.sizes(), (std::vector<int64_t>{200, 1, 8, 8}));
  const auto right = classify(images, data.at("mean")).eq(labels).to(torch::kFloat32).mean();
  EXPECT_GE(right.item<double>(), 0.8);
}

TEST(Sampler, IsDeterministicAndLeavesTheModelInItsMode) {
  const auto model = trained_model();
  ASSERT_TRUE(model->is_training());
  const torch::Tensor labels = torch::arange(10);
  const torch::Tensor first = sample_digits(*model, labels, 5, 7);
  EXPECT_TRUE(model->is_training());
  torch::manual_seed(99);
  EXPECT_TRUE(torch::equal(first, sample_digits(*model, labels, 5, 7)));
  EXPECT_FALSE(torch::equal(first, sample_digits(*model, labels, 5, 8)));
  EXPECT_FALSE(first.requires_grad());
  EXPECT_ANY_THROW(sample_digits(*model, labels, 0, 7));
  EXPECT_ANY_THROW(sample_digits(*model, labels, 1001, 7));
}

TEST(ContactSheet, LaysImagesOutInRows) {
  const torch::Tensor images =
      torch::tensor({-1.0, 0.0, 1.0}).view({3, 1, 1, 1}).expand({3, 1, 2, 2});
  const torch::Tensor sheet = contact_sheet(images, {.columns = 2, .scale = 3, .gap = 1});
  ASSERT_EQ(sheet.sizes(), (std::vector<int64_t>{15, 15}));
  auto at = [&](int64_t row, int64_t column) { return sheet[row][column].item<int>(); };
  EXPECT_EQ(at(0, 0), 255);
  EXPECT_EQ(at(1, 1), 0);
  EXPECT_EQ(at(6, 6), 0);
  EXPECT_EQ(at(7, 7), 255);
  EXPECT_EQ(at(1, 8), 128);
  EXPECT_EQ(at(8, 1), 255);
  EXPECT_EQ(at(13, 13), 255) << "where there is no image it is white";
}

TEST(ContactSheet, IsWrittenAsPng) {
  const fakescore::testing::TempFolder folder;
  write_contact_sheet(folder / "sheet.png", torch::zeros({10, 1, 8, 8}));
  EXPECT_GT(std::filesystem::file_size(folder / "sheet.png"), 50u);
  EXPECT_THROW(write_contact_sheet(folder / "none" / "sheet.png", torch::zeros({1, 1, 8, 8})),
               std::runtime_error);
}

}  // namespace
}  // namespace fakescore::digits
