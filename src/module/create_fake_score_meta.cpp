#include "fakescore/module/create_fake_score_meta.hpp"

#include <torch/nn/module.h>

#include "fakescore/error.hpp"
#include "fakescore/fill/cast_tensors.hpp"
#include "fakescore/fill/fill_tensors.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "fill/check_options.hpp"
#include "module/build_target.hpp"
#include "module/trainable.hpp"
#include "transfer/verify.hpp"

namespace fakescore {

MetaResult create_fake_score_meta(const ModuleBuilder& build, const TeacherSource& teacher,
                                  Communicator& communicator, const MetaOptions& options) {
  MetaResult result;
  const auto build_on_meta = [&] {
    detail::BuiltModule built = detail::build_target(build, options);
    result.module = built.module;
    built.target.on_filled = [module = built.module](const std::vector<NamedTensor>& tensors) {
      detail::make_trainable(*module, tensors);
    };
    return std::move(built.target);
  };
  static_cast<FillReport&>(result.report) =
      fill_tensors(build_on_meta, teacher, communicator, options);
  return result;
}

MetaResult create_fake_score_meta(const std::shared_ptr<torch::nn::Module>& teacher,
                                  Communicator& communicator, const MetaOptions& options) {
  if (communicator.world_size() > 1) {
    throw_error({ErrorCode::kConfig, -1, "create_fake_score_meta", "build",
                 "no builder was given in a job of " + std::to_string(communicator.world_size()) +
                     " ranks; a live teacher alone is enough for one rank only",
                 "pass a callable that builds the module on every rank, and the teacher as "
                 "module_source, TeacherSource::state_dict or TeacherSource::path"});
  }
  detail::check_fill_options(communicator.world_size(), options);
  MetaResult result;
  result.module = create_fake_score(teacher);
  result.report.deep_copy = true;
  result.report.backend = communicator.backend();
  cast_floating_tensors(module_tensors(*result.module), options);
  if (options.verify) {
    result.report.digest =
        detail::verify_across_ranks(communicator, module_tensors(*result.module), options.root);
  }
  return result;
}

}  // namespace fakescore
