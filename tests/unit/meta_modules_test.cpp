#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "unit/meta_compare.hpp"
#include "unit/module_case.hpp"

namespace fakescore::testing {
namespace {

namespace nn = torch::nn;
namespace init = torch::nn::init;
using at::Tensor;
using ModulePtr = std::shared_ptr<nn::Module>;

/// A module around one tensor that `fill` initialises, with draws before and after it.
std::function<ModulePtr()> filled(const std::function<Tensor()>& fill) {
  return [fill] {
    auto module = std::make_shared<nn::Module>();
    module->register_parameter("before", torch::randn(5));
    module->register_parameter("filled", fill());
    module->register_parameter("after", torch::randn(7));
    return module;
  };
}

std::vector<ModuleCase> init_cases() {
  const auto wide = [](auto fill) {
    return filled([fill] { return fill(torch::empty({8, 5, 3})); });
  };
  const auto flat = [](auto fill) { return filled([fill] { return fill(torch::empty({6, 5})); }); };
  return {
      {"kaiming_uniform", wide([](Tensor w) { return init::kaiming_uniform_(w); })},
      {"kaiming_normal", wide([](Tensor w) { return init::kaiming_normal_(w); })},
      {"xavier_uniform", wide([](Tensor w) { return init::xavier_uniform_(w); })},
      {"xavier_normal", wide([](Tensor w) { return init::xavier_normal_(w); })},
      {"orthogonal", wide([](Tensor w) { return init::orthogonal_(w); })},
      {"dirac", wide([](Tensor w) { return init::dirac_(w); })},
      {"sparse", flat([](Tensor w) { return init::sparse_(w, 0.3); })},
      {"eye", flat([](Tensor w) { return init::eye_(w); })},
      {"constant", flat([](Tensor w) { return init::constant_(w, 2); })},
      {"ones", flat([](Tensor w) { return init::ones_(w); })},
      {"zeros", flat([](Tensor w) { return init::zeros_(w); })},
      {"normal", flat([](Tensor w) { return init::normal_(w, 1, 2); })},
      {"uniform", flat([](Tensor w) { return init::uniform_(w, -1, 3); })},
      {"normal_on_a_transposed", flat([](Tensor w) {
         w = w.t();
         return init::normal_(w);
       })},
      {"orthogonal_wide_with_a_gain", filled([] {
         return init::orthogonal_(torch::empty({3, 2, 4, 5}), 2.0);
       })},
      {"orthogonal_in_double", filled([] {
         return init::orthogonal_(torch::empty({7, 3}, torch::kDouble));
       })},
      {"dirac_in_groups_of_planes", filled([] {
         return init::dirac_(torch::empty({4, 6, 3, 3, 3}));
       })},
      {"kaiming_of_a_leaky_fan_out", filled([] {
         return init::kaiming_normal_(torch::empty({4, 6, 3}), 0.1, torch::kFanOut,
                                      torch::kLeakyReLU);
       })},
      {"uniform_in_bfloat16",
       filled([] { return init::uniform_(torch::empty({33}, torch::kBFloat16)); })},
      {"normal_in_half", filled([] { return init::normal_(torch::empty({33}, torch::kHalf)); })},
      {"normal_on_every_second_column", flat([](Tensor w) {
         init::ones_(w);
         init::normal_(w.slice(1, 0, 5, 2));
         return w;
       })},
      {"normal_twice", flat([](Tensor w) { return init::uniform_(init::normal_(w)); })},
  };
}

/// Registered or not.
NamedTensors all_tensors(const nn::Module& module) {
  NamedTensors tensors = named_tensors(module);
  if (const auto* plain = dynamic_cast<const HasPlainMembers*>(&module)) {
    for (const auto& member : plain->plain_members()) tensors.push_back(member);
  }
  return tensors;
}

/// For each tensor, the first that lies in the same storage.
std::vector<size_t> storage_sharing(const NamedTensors& tensors) {
  std::map<const void*, size_t> first;
  std::vector<size_t> sharing;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const void* storage = tensors[i].tensor.storage().unsafeGetStorageImpl();
    sharing.push_back(first.try_emplace(storage, i).first->second);
  }
  return sharing;
}

void expect_identical(const NamedTensors& got, const NamedTensors& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].name, want[i].name);
    EXPECT_TRUE(identical(got[i].tensor, want[i].tensor)) << want[i].name;
  }
  EXPECT_EQ(storage_sharing(got), storage_sharing(want));
}

/// Makes the tensors real one by one, in an order that begins with the last for odd seeds.
void materialise_one_by_one(const NamedTensors& metas, InitTape& tape, uint64_t seed) {
  for (size_t i = 0; i < metas.size(); ++i) {
    const auto& [name, meta, kind, shard] = metas[seed % 2 == 0 ? i : metas.size() - 1 - i];
    if (!meta.is_meta()) continue;  // another name of a tensor that has been made real
    const bool leaf = meta.is_leaf();
    materialize_into(meta, tape.replay({meta})[0]);
    EXPECT_EQ(meta.is_leaf(), leaf) << name;
  }
}

using Case = std::tuple<ModuleCase, RandomMode>;

class MetaModule : public ::testing::TestWithParam<Case> {};

TEST_P(MetaModule, ReplaysEachTensorAloneAsEager) {
  const auto& [module_case, mode] = GetParam();
  for (uint64_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(seed);
    const ModulePtr eager = build_eagerly(module_case.build, mode, seed);
    const auto [module, tape] = build_on_meta(module_case.build, mode, seed);
    const NamedTensors metas = all_tensors(*module);
    ASSERT_FALSE(metas.empty());
    materialise_one_by_one(metas, *tape, seed);
    // Asked for again: the dictionaries must have the tensors that the members are.
    expect_identical(all_tensors(*module), all_tensors(*eager));
  }
}

TEST_P(MetaModule, ReplaysAllTensorsTogetherAsEager) {
  const auto& [module_case, mode] = GetParam();
  for (uint64_t seed = 10; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    const ModulePtr eager = build_eagerly(module_case.build, mode, seed);
    const auto [module, tape] = build_on_meta(module_case.build, mode, seed);
    NamedTensors tensors = all_tensors(*module);
    std::vector<Tensor> metas;
    for (const auto& entry : tensors) {
      EXPECT_TRUE(entry.tensor.is_meta()) << entry.name;
      metas.push_back(entry.tensor);
    }
    const std::vector<Tensor> reals = tape->replay(metas);
    for (size_t i = 0; i < reals.size(); ++i) tensors[i].tensor = reals[i];
    expect_identical(tensors, all_tensors(*eager));
  }
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return std::get<0>(info.param).name + "_" + mode_name(std::get<1>(info.param));
}

auto in_both_modes(const std::vector<ModuleCase>& cases) {
  return ::testing::Combine(::testing::ValuesIn(cases),
                            ::testing::Values(RandomMode::kPerOp, RandomMode::kSequential));
}

INSTANTIATE_TEST_SUITE_P(Layers, MetaModule, in_both_modes(layer_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Recurrent, MetaModule, in_both_modes(recurrent_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Attention, MetaModule, in_both_modes(attention_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(LossesAndContainers, MetaModule, in_both_modes(loss_and_container_cases()),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Own, MetaModule, in_both_modes(own_module_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Init, MetaModule, in_both_modes(init_cases()), case_name);

/// The classes that torch's own headers declare.
std::set<std::string> declared_classes() {
  const std::filesystem::path folder = std::filesystem::path(FAKESCORE_TORCH_DIR) /
                                       "include/torch/csrc/api/include/torch/nn/modules";
  const std::regex declaration(
      R"(\n(?:TORCH_MODULE(?:_IMPL)?\((\w+)|class (\w+) : public torch::nn::ModuleHolder))");
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    const std::string text(std::istreambuf_iterator<char>(file), {});
    for (std::sregex_iterator match(text.begin(), text.end(), declaration), end; match != end;
         ++match) {
      names.insert((*match)[1].matched ? (*match)[1] : (*match)[2]);
    }
  }
  return names;
}

TEST(TorchNn, EveryClassIsInOneOfTheTables) {
  std::set<std::string> untested = declared_classes();
  EXPECT_GT(untested.size(), 100u);
  for (const auto& cases : {layer_cases(), recurrent_cases(), attention_cases(),
                            loss_and_container_cases(), parameterless_cases()}) {
    for (const ModuleCase& item : cases) untested.erase(item.name.substr(0, item.name.find('_')));
  }
  EXPECT_THAT(untested, ::testing::IsEmpty());
}

TEST(TorchNn, ClassesWithoutParametersHaveNone) {
  const MetaInitGuard guard;
  for (const ModuleCase& item : parameterless_cases()) {
    EXPECT_TRUE(named_tensors(*item.build()).empty()) << item.name;
  }
}

}  // namespace
}  // namespace fakescore::testing
