// scaling_benchmark CASE COUNT: loads, copies, synchronises or writes COUNT tensors in a way that
// the program has no command for, and prints the seconds of each step as a line of JSON.
#include <torch/nn/cloneable.h>
#include <torch/types.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fakescore/fakescore.hpp"

namespace fakescore::benchmark {
namespace {

using Steps = std::map<std::string, double>;
using NamedTensors = std::vector<NamedTensor>;
using ModulePtr = std::shared_ptr<torch::nn::Module>;

constexpr int64_t kWidth = 4;
constexpr int64_t kElements = kWidth * kWidth;

double seconds_of(const std::function<void()>& step) {
  const auto begin = std::chrono::steady_clock::now();
  step();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string numbered(const char* what, int64_t index) { return what + std::to_string(index); }

/// A module for each tensor.
ModulePtr make_layers(int64_t count) {
  auto module = std::make_shared<torch::nn::Module>();
  for (int64_t i = 0; i < count; ++i) {
    module->register_module(numbered("layer", i), std::make_shared<torch::nn::Module>())
        ->register_parameter("weight", torch::zeros({kWidth, kWidth}));
  }
  return module;
}

NamedTensors state_of_layers(int64_t count) {
  NamedTensors state;
  for (int64_t i = 0; i < count; ++i) {
    state.push_back({numbered("layer", i) + ".weight", torch::ones({kWidth, kWidth})});
  }
  return state;
}

/// One module with all tensors.
class FlatModule : public torch::nn::Cloneable<FlatModule> {
 public:
  explicit FlatModule(int64_t count) : count_(count) { FlatModule::reset(); }
  void reset() override {
    for (int64_t i = 0; i < count_; ++i) {
      register_parameter(numbered("weight", i), torch::zeros({kWidth, kWidth}));
    }
  }

 private:
  int64_t count_;
};

/// Half of the tensors are in no teacher; the other half may not be.
class ReplayedModule : public torch::nn::Module, public NonPersistentBuffers {
 public:
  explicit ReplayedModule(int64_t count) {
    register_parameter("kept", torch::zeros({kElements}));
    for (int64_t i = 0; i < count / 2; ++i) {
      register_parameter(numbered("missing", i), torch::zeros({kWidth, kWidth}));
      names_.push_back(numbered("table", i));
      register_buffer(names_.back(), torch::ones({kWidth, kWidth}));
    }
  }
  std::vector<std::string> non_persistent_buffers() const override { return names_; }

 private:
  std::vector<std::string> names_;
};

/// Each weight has a second name.
ModulePtr make_tied(int64_t count) {
  auto module = make_layers(count / 2);
  auto heads = std::make_shared<torch::nn::Module>();
  int64_t index = 0;
  for (const NamedTensor& entry : module_tensors(*module)) {
    heads->register_parameter(numbered("head", index++), entry.tensor);
  }
  module->register_module("heads", heads);
  return module;
}

/// All tensors are views of one.
ModulePtr make_views(int64_t count) {
  auto module = std::make_shared<torch::nn::Module>();
  const at::Tensor flat = torch::zeros({count, kElements});
  int64_t index = 0;
  for (const at::Tensor& view : flat.unbind(0)) {
    module->register_buffer(numbered("view", index++), view);
  }
  module->register_buffer("kept", torch::zeros({kElements}));
  return module;
}

/// All tensors are results of one operator.
ModulePtr make_foreach(int64_t count) {
  auto module = std::make_shared<torch::nn::Module>();
  const std::vector<at::Tensor> zeros(static_cast<size_t>(count), torch::zeros({kWidth, kWidth}));
  int64_t index = 0;
  for (const at::Tensor& tensor : at::_foreach_add(zeros, 1)) {
    module->register_buffer(numbered("made", index++), tensor);
  }
  module->register_buffer("kept", torch::zeros({kElements}));
  return module;
}

/// Of the modules that a teacher has next to nothing of.
NamedTensors kept() { return {{"kept", torch::ones({kElements})}}; }

NamedTensors state_of_views(int64_t count) {
  NamedTensors state = kept();
  for (int64_t i = 0; i < count; ++i) {
    state.push_back({numbered("view", i), torch::ones({kElements})});
  }
  return state;
}

void write(const torch::nn::Module& module, Steps& steps) {
  const auto path =
      std::filesystem::temp_directory_path() / ("scaling" + std::to_string(::getpid()));
  NamedTensors tensors;
  std::map<std::string, std::string> ties;
  std::map<const void*, std::string> first;
  for (const NamedTensor& entry : module_tensors(module)) {
    const auto [owner, is_new] = first.try_emplace(entry.tensor.const_data_ptr(), entry.name);
    if (is_new) {
      tensors.push_back({entry.name, entry.tensor.detach()});
    } else {
      ties.emplace(entry.name, owner->second);
    }
  }
  steps["write"] = seconds_of([&] { save_safetensors(path, tensors, ties); });
  steps["read back"] = seconds_of([&] { TeacherSource::path(path).open(); });
  std::filesystem::remove(path);
}

/// The steps are the phases of the load and writing what it made.
Steps load(const ModuleBuilder& build, NamedTensors teacher, MetaOptions options = {}) {
  const auto alone = make_local_communicators(1);
  options.strict = false;
  options.verify = true;
  const auto result = create_fake_score_meta(build, TeacherSource::state_dict(std::move(teacher)),
                                             *alone.front(), options);
  Steps steps;
  for (const PhaseReport& phase : result.report.phases) steps[phase.name] = phase.seconds;
  write(*result.module, steps);
  return steps;
}

Steps load_cast(int64_t count) {
  MetaOptions options;
  options.dtype = at::kBFloat16;
  options.dtype_rules = {{"layer1", at::kDouble}};
  return load([count] { return make_layers(count); }, state_of_layers(count), options);
}

Steps deep_copy(int64_t count) {
  Steps steps;
  const auto flat = std::make_shared<FlatModule>(count);
  const auto layers = make_layers(count);
  steps["clone"] = seconds_of([&] { create_fake_score(flat); });
  FakeScoreOptions options;
  options.build = [count] { return make_layers(count); };
  steps["build"] = seconds_of([&] { create_fake_score(layers, options); });
  return steps;
}

Steps synchronise(int64_t count) {
  const auto ranks = make_local_communicators(2);
  SyncOptions options;
  options.verify = true;
  const auto sync = [&](size_t rank) {
    const auto module = make_layers(count);
    sync_module_states(*module, *ranks[rank], options);
  };
  return {{"sync, building included", seconds_of([&] {
             std::thread other(sync, 1);
             sync(0);
             other.join();
           })}};
}

Steps plan(int64_t count) {
  const auto teacher = TeacherSource::state_dict(kept());
  MetaOptions options;
  options.strict = false;
  const auto build = [count] { return std::make_shared<ReplayedModule>(count); };
  return {{"plan", seconds_of([&] { plan_fake_score(build, teacher, 64, options); })}};
}

const std::map<std::string, std::function<Steps(int64_t)>>& cases() {
  static const std::map<std::string, std::function<Steps(int64_t)>> all{
      {"tied",
       [](int64_t n) { return load([n] { return make_tied(n); }, state_of_layers(n / 2)); }},
      {"replayed",
       [](int64_t n) { return load([n] { return std::make_shared<ReplayedModule>(n); }, kept()); }},
      {"replayed_plan", plan},
      {"views", [](int64_t n) { return load([n] { return make_views(n); }, state_of_views(n)); }},
      {"replayed_views", [](int64_t n) { return load([n] { return make_views(n); }, kept()); }},
      {"foreach", [](int64_t n) { return load([n] { return make_foreach(n); }, kept()); }},
      {"cast", load_cast},
      {"deep_copy", deep_copy},
      {"sync", synchronise}};
  return all;
}

int main(int argc, char** argv) {
  CLI::App app("Seconds of each step with COUNT tensors", "scaling_benchmark");
  std::string name;
  int64_t count = 0;
  app.add_option("case", name)->required()->check(CLI::IsMember(cases()));
  app.add_option("count", count)->required()->check(CLI::Range(2, 10'000'000));
  CLI11_PARSE(app, argc, argv);
  std::printf("%s\n", nlohmann::json(cases().at(name)(count)).dump().c_str());
  return 0;
}

}  // namespace
}  // namespace fakescore::benchmark

int main(int argc, char** argv) { return fakescore::benchmark::main(argc, argv); }
