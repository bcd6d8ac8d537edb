#include "fakescore/module/plan_fake_score.hpp"

#include "module/build_target.hpp"

namespace fakescore {

DryRunReport plan_fake_score(const ModuleBuilder& build, const TeacherSource& teacher,
                             int world_size, const MetaOptions& options) {
  std::shared_ptr<torch::nn::Module> module;  // as long as its tensors are looked at
  const auto build_on_meta = [&] {
    detail::BuiltModule built = detail::build_target(build, options);
    module = std::move(built.module);
    return built.target;
  };
  return dry_run(build_on_meta, teacher, world_size, options);
}

}  // namespace fakescore
