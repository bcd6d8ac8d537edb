#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ThreadLocalState.h>
#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "fakescore/error.hpp"
#include "unit/meta_compare.hpp"

namespace fakescore::testing {
namespace {

using at::Tensor;

double resident_megabytes() {
  std::ifstream file("/proc/self/statm");
  double total = 0;
  double resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

/// The tape and one tensor that `build` made under a guard.
template <class Build>
std::pair<Tensor, std::shared_ptr<InitTape>> made(const Build& build) {
  return build_on_meta(build, RandomMode::kPerOp);
}

TEST(MetaInitGuard, AllocatesNothingForABigModule) {
  const double before = resident_megabytes();
  std::vector<torch::nn::Linear> layers;
  MetaInitGuard guard;
  for (int i = 0; i < 2500; ++i) layers.emplace_back(torch::nn::LinearOptions(4474, 4474));
  double gigabytes = 0;
  for (const torch::nn::Linear& layer : layers) {
    for (const Tensor& parameter : layer->parameters()) {
      ASSERT_TRUE(parameter.is_meta());
      gigabytes += static_cast<double>(parameter.nbytes()) / 1e9;
    }
  }
  EXPECT_GT(gigabytes, 200);
  EXPECT_LT(resident_megabytes() - before, 100);
  // The last of them costs no more than itself.
  const Tensor weight = layers.back()->weight;
  const Tensor real = guard.tape()->replay({weight})[0];
  EXPECT_TRUE(real.is_cpu());
  EXPECT_LT(resident_megabytes() - before, 250);
}

TEST(MetaInitGuard, ConcernsItsScopeOnly) {
  {
    const MetaInitGuard guard;
    EXPECT_TRUE(torch::ones(1).is_meta());
  }
  EXPECT_TRUE(torch::ones(1).is_cpu());
}

TEST(MetaInitGuard, NestsWithATapeOfItsOwn) {
  const MetaInitGuard outer;
  Tensor a = torch::ones(3);
  {
    const MetaInitGuard inner;
    const Tensor b = torch::ones(2) * 4;
    EXPECT_EQ(inner.tape()->replay({b})[0].sum().item<float>(), 8);
    EXPECT_THROW(a.mul_(2), BuildError);
    EXPECT_THROW(outer.tape()->replay({b}), BuildError);
  }
  a = a * 2;
  EXPECT_TRUE(a.is_meta());
  EXPECT_EQ(outer.tape()->replay({a})[0].sum().item<float>(), 6);
}

TEST(MetaInitGuard, UnwindsWithAnException) {
  std::shared_ptr<InitTape> tape;
  Tensor x;
  const auto build = [&] {
    const MetaInitGuard guard;
    tape = guard.tape();
    x = torch::ones(3);
    throw std::runtime_error("the builder gave up");
  };
  EXPECT_THROW(build(), std::runtime_error);
  EXPECT_TRUE(torch::ones(1).is_cpu());
  EXPECT_TRUE(identical(tape->replay({x})[0], torch::ones(3)));
}

TEST(MetaInitGuard, GoesOnAfterAnOpThatThrew) {
  const auto [x, tape] = made([] {
    const Tensor a = torch::arange(3.);
    EXPECT_THROW(torch::matmul(a, torch::ones({4, 4})), c10::Error);
    return a + 1;
  });
  EXPECT_TRUE(identical(tape->replay({x})[0], torch::arange(1., 4.)));
}

TEST(MetaInitGuard, ConcernsItsThreadOnly) {
  const MetaInitGuard guard;
  bool real = false;
  std::thread([&] { real = torch::ones(3).is_cpu(); }).join();
  EXPECT_TRUE(real);
}

TEST(MetaInitGuard, RefusesAThreadThatInheritsItsKey) {
  const MetaInitGuard guard;
  const at::ThreadLocalState state;
  bool refused = false;
  std::thread([&] {
    const at::ThreadLocalStateGuard inherited(state);
    try {
      torch::ones(3);
    } catch (const BuildError& error) {
      refused = error.info().subject == "aten::ones";
    }
  }).join();
  EXPECT_TRUE(refused);
}

TEST(MetaInitGuard, GuardsOnTwoThreadsAreIndependent) {
  const auto build = [](uint64_t seed, Tensor& result) {
    for (int i = 0; i < 50; ++i) {
      const MetaInitGuard guard(options_for(RandomMode::kPerOp, seed));
      const Tensor x = torch::full({3}, static_cast<double>(seed)) * 2;
      result = guard.tape()->replay({x})[0];
    }
  };
  Tensor one;
  Tensor two;
  std::thread other([&] { build(1, one); });
  build(2, two);
  other.join();
  EXPECT_EQ(one.sum().item<double>(), 6);
  EXPECT_EQ(two.sum().item<double>(), 12);
}

TEST(MetaInitGuard, ThreadsTakeTurnsAtTheDefaultGenerator) {
  torch::manual_seed(kSeed);
  const auto draw = [] {
    const MetaInitGuard guard;
    const Tensor x = torch::randn(20);
    const Tensor y = torch::full({2}, torch::rand(3).sum().item<double>());  // replays at once
    return torch::cat(guard.tape()->replay({x, y}));
  };
  const Tensor want = draw();
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) count += torch::equal(draw(), want) ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(MetaInitGuard, RefusesAutocast) {
  at::autocast::set_autocast_enabled(at::kCPU, true);
  {
    const MetaInitGuard guard;
    EXPECT_THROW(torch::ones(3), BuildError);
  }
  at::autocast::set_autocast_enabled(at::kCPU, false);
}

TEST(InitTape, LeavesGeneratorAndDefaultDtypeAsFound) {
  for (const RandomMode mode : {RandomMode::kPerOp, RandomMode::kSequential}) {
    const auto [x, tape] = build_on_meta([] { return torch::randn(40); }, mode);
    torch::manual_seed(99);
    torch::randn(3);
    const Tensor before = at::detail::getDefaultCPUGenerator().get_state();
    torch::set_default_dtype(caffe2::TypeMeta::Make<double>());
    EXPECT_EQ(tape->replay({x})[0].scalar_type(), torch::kFloat);
    EXPECT_EQ(c10::get_default_dtype(), caffe2::TypeMeta::Make<double>());
    torch::set_default_dtype(caffe2::TypeMeta::Make<float>());
    EXPECT_TRUE(torch::equal(before, at::detail::getDefaultCPUGenerator().get_state()));
  }
}

TEST(InitTape, ReplayIsTheSameUnderAnyMode) {
  const auto [x, tape] = made([] { return torch::randn(40).matmul(torch::randn({40, 3})); });
  const Tensor want = tape->replay({x})[0].clone();
  {
    const torch::InferenceMode inference;
    EXPECT_FALSE(tape->replay({x})[0].is_inference());
  }
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const Tensor under_autocast = tape->replay({x})[0];
  at::autocast::set_autocast_enabled(at::kCPU, false);
  EXPECT_TRUE(identical(under_autocast, want));
}

TEST(InitTape, AViewReplaysAfterItsMaterialisedBaseWasWritten) {
  Tensor base;
  Tensor view;
  std::shared_ptr<InitTape> tape;
  {
    const MetaInitGuard guard;
    tape = guard.tape();
    base = torch::ones({3, 2});
    view = base.t();
  }
  materialize_into(base, tape->replay({base})[0]);
  base.fill_(5);
  const Tensor replayed = tape->replay({view})[0];
  EXPECT_TRUE(replayed.is_alias_of(base));
  EXPECT_TRUE(torch::equal(replayed, base.t()));
}

TEST(InitTape, TiesSurviveSeveralReplays) {
  Tensor tied;
  const auto [x, tape] = made([&] {
    const Tensor a = torch::randn({3, 2});
    tied = a.t();
    return a;
  });
  Tensor real = tape->replay({x})[0];
  const Tensor other = tape->replay({tied})[0];
  EXPECT_TRUE(real.is_alias_of(other));
  EXPECT_TRUE(torch::equal(real, other.t()));
  real.fill_(8);
  EXPECT_TRUE(torch::equal(tape->replay({tied})[0], real.t())) << "what is shared stays shared";
  const auto both = tape->replay({x, tied});
  EXPECT_TRUE(both[0].is_alias_of(both[1]));
}

TEST(InitTape, HoldsNoResultsItself) {
  const auto [x, tape] = made([] { return torch::ones(3); });
  tape->replay({x})[0].fill_(5);
  EXPECT_TRUE(identical(tape->replay({x})[0], torch::ones(3)));
}

TEST(InitTape, AnEarlierWriterDoesNotSpoilWhatWasReadBefore) {
  Tensor source;
  const auto [x, tape] = made([&] {
    source = torch::ones(3);
    const Tensor b = source * 2;
    source.mul_(10);
    return b;
  });
  const Tensor real_source = tape->replay({source})[0];
  EXPECT_EQ(real_source.sum().item<float>(), 30);
  EXPECT_EQ(tape->replay({x})[0].sum().item<float>(), 6);
}

struct Unregistered : torch::nn::Module {
  Unregistered() {
    hidden = torch::arange(4.) * 2;
    rows = torch::zeros({3, 4});
    rows[1].fill_(5);
    drawn = torch::empty({3}).normal_();
    register_buffer("known", torch::ones(2));
  }
  Tensor hidden, rows, drawn;
};

TEST(InitTape, FindsMembersThatNoModuleRegistered) {
  const auto build = [] { return std::make_shared<Unregistered>(); };
  const auto eager = build_eagerly(build, RandomMode::kPerOp);
  const auto [module, tape] = build_on_meta(build, RandomMode::kPerOp);
  const std::vector<Tensor> live = tape->live_tensors();
  EXPECT_EQ(live.size(), 4u);
  const std::vector<Tensor> reals = tape->replay(live);
  for (size_t i = 0; i < live.size(); ++i) materialize_into(live[i], reals[i]);
  EXPECT_TRUE(identical(module->hidden, eager->hidden));
  EXPECT_TRUE(identical(module->rows, eager->rows));
  EXPECT_TRUE(identical(module->drawn, eager->drawn));
  EXPECT_TRUE(tape->live_tensors().empty());
}

TEST(InitTape, RefusesWhatChangedAfterTheGuard) {
  const auto [x, tape] = made([] { return torch::ones(3); });
  Tensor written = x;
  written.mul_(2);
  EXPECT_THROW(tape->replay({x}), BuildError);
  const Tensor later = torch::ones(2, torch::kMeta);
  EXPECT_THROW(tape->replay({later}), BuildError);
}

TEST(InitTape, RefusesAWriteThroughOneOfManyViews) {
  std::vector<Tensor> views;
  std::shared_ptr<InitTape> tape;
  {
    const MetaInitGuard guard;
    views = torch::zeros({3, 2}).unbind(0);
    tape = guard.tape();
  }
  views.back().add_(1);
  EXPECT_THROW(tape->replay({views[0], views[1]}), BuildError);
}

TEST(InitTape, ReplaysEachOfManyResultsOfOneOp) {
  std::vector<Tensor> sums;
  std::shared_ptr<InitTape> tape;
  {
    const MetaInitGuard guard;
    const Tensor zeros = torch::zeros({2});
    sums = at::_foreach_add({zeros, zeros, zeros}, 1);
    tape = guard.tape();
  }
  EXPECT_EQ(tape->replay({sums[2]})[0].sum().item<float>(), 2);
  const auto values = tape->replay(sums);
  values[0].add_(1);
  EXPECT_EQ(values[1].sum().item<float>(), 2);
}

TEST(InitTape, RefusesAConstantThatChanged) {
  Tensor big = torch::ones(400000);
  Tensor small = torch::ones(3);
  Tensor from_small;
  const auto [x, tape] = made([&] {
    from_small = small * torch::full({3}, 2.);
    return big * torch::full({400000}, 2.);
  });
  big.mul_(5);
  small.mul_(5);
  EXPECT_EQ(tape->replay({from_small})[0].sum().item<float>(), 6);
  try {
    tape->replay({x});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const BuildError& error) {
    EXPECT_EQ(error.info().subject, "aten::mul");
  }
}

TEST(InitTape, NamesTheOpThatFails) {
  // Only values tell that this matrix has no inverse.
  const auto [x, tape] = made([] { return torch::inverse(torch::zeros({3, 3})); });
  try {
    tape->replay({x});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const BuildError& error) {
    EXPECT_EQ(error.info().phase, "replay");
    EXPECT_EQ(error.info().subject.rfind("aten::", 0), 0u) << error.what();
  }
}

TEST(InitTape, TellsWhatLaterOperationsDidWithATensor) {
  const MetaInitGuard guard;
  const std::shared_ptr<InitTape> tape = guard.tape();
  const Tensor unused = torch::ones(2);
  const Tensor read = torch::ones(2);
  const Tensor written = torch::ones(4);
  const size_t since = tape->size();
  const Tensor sum = read + 1;
  written.narrow(0, 1, 2).zero_();
  const auto uses = tape->uses_since({unused, read, written, sum}, since);
  EXPECT_EQ(uses, (std::vector<TensorUse>{TensorUse::kNone, TensorUse::kRead, TensorUse::kWritten,
                                          TensorUse::kWritten}));
  EXPECT_EQ(tape->uses_since({read}, tape->size()), std::vector<TensorUse>{TensorUse::kNone});
}

TEST(InitTape, DoesNotComputeWithAnUnknownValue) {
  const MetaInitGuard guard;
  const std::shared_ptr<InitTape> tape = guard.tape();
  const Tensor weight = torch::full({2}, 3.0);
  const Tensor before = weight * 2;
  const size_t since = tape->size();
  const Tensor after = weight.narrow(0, 0, 1).clone();
  const Tensor of_after = after + 1;
  tape->mark_unknown("block.weight", weight, since);
  EXPECT_EQ(tape->replay({before})[0].sum().item<float>(), 12);
  EXPECT_EQ(tape->replay({weight})[0].sum().item<float>(), 6);
  try {
    tape->replay({before, of_after});
    FAIL() << "a value was computed with one that is not known";
  } catch (const BuildError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("clone"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("computes with block.weight"));
  }
}

TEST(InitTape, TakesTheRandomStateOfAnother) {
  const auto build = [] { return torch::randn({40}) + torch::rand({40}); };
  for (const RandomMode mode : {RandomMode::kPerOp, RandomMode::kSequential}) {
    const auto [first, tape_of_first] = build_on_meta(build, mode, 1);
    const auto [second, tape_of_second] = build_on_meta(build, mode, 2);
    const Tensor wanted = tape_of_first->replay({first})[0];
    EXPECT_FALSE(torch::equal(tape_of_second->replay({second})[0], wanted));
    tape_of_second->set_random_state(tape_of_first->random_state());
    EXPECT_TRUE(torch::equal(tape_of_second->replay({second})[0], wanted));
  }
  const auto tape = made([] { return torch::ones({2}); }).second;
  const auto other = build_on_meta(build, RandomMode::kSequential, 1).second;
  EXPECT_THROW(tape->set_random_state(other->random_state()), MismatchError);
}

TEST(InitTape, HasTheFingerprintOfAllButItsRandomState) {
  const auto of = [](double constant, uint64_t seed, int64_t extra = 0) {
    return build_on_meta(
               [&] {
                 Tensor made = torch::randn({40}) * constant + torch::tensor({1.5f, 2.5f}).sum();
                 for (int64_t i = 0; i < extra; ++i) made = made + torch::rand({40});
                 return made;
               },
               RandomMode::kPerOp, seed)
        .second;
  };
  const Digest first = of(0.1, 1)->fingerprint();
  EXPECT_EQ(of(0.1, 2)->fingerprint(), first);
  EXPECT_NE(of(0.1 + 1e-15, 1)->fingerprint(), first);
  EXPECT_NE(of(0.1, 1, 1)->fingerprint(), first);
  const auto with_constant = [](float value) {
    return made([&] { return torch::zeros({2}) + torch::tensor({value, 1.0f}); }).second;
  };
  EXPECT_NE(with_constant(1)->fingerprint(), with_constant(2)->fingerprint());
  EXPECT_EQ(with_constant(1)->fingerprint(), with_constant(1)->fingerprint());
  const auto [marked, tape] = made([] { return torch::zeros({2}); });
  const Digest unmarked = tape->fingerprint();
  tape->mark_unknown("weight", marked, 0);
  EXPECT_NE(tape->fingerprint(), unmarked);
}

TEST(MetaInitPause, LetsOperationsRunAsTheyAreCalled) {
  ASSERT_TRUE(MetaInitGuard::is_supported());
  const MetaInitGuard guard;
  const size_t recorded = guard.tape()->size();
  {
    const MetaInitPause pause;
    EXPECT_TRUE(torch::ones(1).is_cpu());
  }
  EXPECT_EQ(guard.tape()->size(), recorded);
  EXPECT_TRUE(torch::ones(1).is_meta());
}

TEST(InitTape, ReturnsRealTensorsAsTheyAre) {
  const auto [x, tape] = made([] { return torch::ones(3); });
  const Tensor real = torch::ones(2);
  EXPECT_TRUE(tape->replay({real, x})[0].is_same(real));
  EXPECT_TRUE(tape->replay({}).empty());
}

TEST(MaterializeInto, KeepsHandlesAndGradients) {
  MetaInitGuard guard;
  auto module = std::make_unique<torch::nn::Linear>(3, 3);
  const auto tape = guard.tape();
  std::vector<Tensor> parameters = (*module)->parameters();
  const std::vector<Tensor> reals = tape->replay(parameters);
  for (size_t i = 0; i < parameters.size(); ++i) materialize_into(parameters[i], reals[i]);
  EXPECT_TRUE((*module)->weight.is_cpu());
  EXPECT_TRUE((*module)->weight.is_leaf());
  EXPECT_TRUE((*module)->weight.requires_grad());
  EXPECT_TRUE((*module)->named_parameters()["weight"].is_same(parameters[0]));
}

TEST(MaterializeInto, LetsTrainingGoOn) {
  auto [module, tape] = build_on_meta([] { return torch::nn::Linear(3, 3); }, RandomMode::kPerOp);
  std::vector<Tensor> parameters = module->parameters();
  const std::vector<Tensor> reals = tape->replay(parameters);
  for (size_t i = 0; i < parameters.size(); ++i) materialize_into(parameters[i], reals[i]);
  torch::optim::SGD sgd(module->parameters(), 0.5);
  const Tensor before = module->weight.detach().clone();
  module->forward(torch::ones({2, 3})).sum().backward();
  EXPECT_TRUE(module->weight.grad().defined());
  sgd.step();
  EXPECT_FALSE(torch::equal(module->weight, before));
}

TEST(MaterializeInto, RefusesAnotherShapeOrDtype) {
  const Tensor meta = torch::ones({2, 3}, torch::kMeta);
  EXPECT_THROW(materialize_into(meta, torch::ones({3, 2})), BuildError);
  EXPECT_THROW(materialize_into(meta, torch::ones({2, 3}, torch::kDouble)), BuildError);
}

TEST(MetaInitGuard, RecordsFactoriesThatNameADeviceIfToldTo) {
  {
    const MetaInitGuard guard;
    EXPECT_FALSE(guard.tape()->knows(torch::ones({2}, torch::device(torch::kCPU))));
  }
  MetaInitOptions options;
  options.records_named_devices = true;
  Tensor cpu;
  Tensor cuda;
  std::shared_ptr<InitTape> tape;
  {
    const MetaInitGuard guard(options);
    cpu = torch::ones({2}, torch::device(torch::kCPU)) * 3;
    cuda = torch::full({2}, 5, torch::device(torch::kCUDA).dtype(torch::kFloat)).to(torch::kCUDA);
    tape = guard.tape();
  }
  EXPECT_TRUE(cpu.is_meta());
  EXPECT_TRUE(tape->knows(cpu));
  EXPECT_FALSE(tape->knows(torch::ones({2}, torch::device(torch::kMeta))));
  const auto values = tape->replay({cpu, cuda});
  EXPECT_TRUE(torch::equal(values[0], torch::full({2}, 3.0F)));
  EXPECT_TRUE(torch::equal(values[1], torch::full({2}, 5.0F)));
}

}  // namespace
}  // namespace fakescore::testing
