#include "fakescore/tensor/manifest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using ::testing::HasSubstr;

Manifest of(const torch::nn::Module& module) { return Manifest(module_tensors(module)); }

TEST(Manifest, NamesWhatSharesStorage) {
  const testing::AwkwardModule module;
  const Manifest manifest = of(module);
  auto group = [&](const std::string& name) {
    for (const TensorSpec& spec : manifest.specs()) {
      if (spec.name == name) return spec.alias_group;
    }
    return int64_t{-1};
  };
  EXPECT_EQ(group("weight"), group("tied"));
  EXPECT_EQ(group("flat"), group("column"));
  EXPECT_NE(group("weight"), group("big"));
}

TEST(Manifest, TellsKindsApart) {
  const testing::AwkwardModule module;
  const Manifest manifest = of(module);
  for (const TensorSpec& spec : manifest.specs()) {
    if (spec.name == "angles") {
      EXPECT_EQ(spec.kind, TensorKind::kNonPersistentBuffer);
    }
    if (spec.name == "steps") {
      EXPECT_EQ(spec.kind, TensorKind::kBuffer);
    }
    if (spec.name == "weight") {
      EXPECT_EQ(spec.kind, TensorKind::kParameter);
    }
  }
}

TEST(Manifest, SurvivesTheWire) {
  const testing::AwkwardModule module;
  const Manifest manifest = of(module);
  const Manifest copy = Manifest::deserialize(manifest.serialize());
  EXPECT_EQ(copy.specs(), manifest.specs());
  EXPECT_EQ(copy.digest(), manifest.digest());
  EXPECT_FALSE(Manifest::first_difference(manifest, copy));
}

TEST(Manifest, FindsTheFirstDifference) {
  const testing::PlainModule a(8);
  const testing::PlainModule b(9);
  EXPECT_EQ(Manifest::first_difference(of(a), of(b)), 1U);
  EXPECT_THAT(of(a).describe(1), HasSubstr("first.weight Float[8, 8]"));
  EXPECT_EQ(of(a).describe(99), "no further tensor");
}

TEST(Manifest, DescribesStridesAndTies) {
  const testing::AwkwardModule module;
  const Manifest manifest = of(module);
  EXPECT_THAT(manifest.describe(1), HasSubstr("tied Float[33, 17] sharing storage with weight"));
  EXPECT_THAT(manifest.describe(3), HasSubstr("strides"));
}

TEST(Manifest, TellsALazyConjugateFromWhatItConjugates) {
  torch::nn::Module module;
  const auto z = torch::polar(torch::ones(3), torch::arange(3.));
  module.register_buffer("z", z);
  module.register_buffer("conj", z.conj());
  module.register_buffer("neg", torch::imag(z.conj()));
  const Manifest manifest = of(module);
  EXPECT_THAT(manifest.describe(1), HasSubstr("conjugated sharing storage with z"));
  EXPECT_THAT(manifest.describe(2), HasSubstr("negated"));
  EXPECT_EQ(Manifest::deserialize(manifest.serialize()).specs(), manifest.specs());
  torch::nn::Module other;
  other.register_buffer("z", z);
  other.register_buffer("conj", z);
  EXPECT_EQ(Manifest::first_difference(manifest, of(other)), 1U);
}

TEST(Manifest, RefusesATensorWithoutStorage) {
  torch::nn::Module module;
  module.register_buffer("sparse", torch::eye(3).to_sparse());
  EXPECT_THROW(of(module), BuildError);
}

}  // namespace
}  // namespace fakescore
