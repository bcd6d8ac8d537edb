#include "fakescore/module/create_fake_score_meta.hpp"

#include <torch/nn/module.h>

#include <tuple>

#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fakescore/fill/fill_tensors.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "fill/cast_tensors.hpp"
#include "fill/check_options.hpp"
#include "fill/no_inference_mode.hpp"
#include "module/build_target.hpp"
#include "module/trainable.hpp"
#include "transfer/verify.hpp"

namespace fakescore {

auto wire_fields(TeacherTensor& tensor) {
  // Its device is the root's own.
  return std::tie(tensor.name, tensor.sizes, tensor.dtype, tensor.file, tensor.stored_name);
}

MetaResult create_fake_score_meta(const ModuleBuilder& build, const TeacherSource& teacher,
                                  Communicator& communicator, const MetaOptions& options) {
  const detail::NoInferenceMode no_inference;
  detail::BuiltModule built;
  const auto build_on_meta = [&] {
    built = detail::build_target(build, options);
    return built.target;
  };
  MetaResult result;
  static_cast<FillReport&>(result.report) =
      fill_tensors(build_on_meta, teacher, communicator, options);
  // A parameter may be listed first as a buffer of another module.
  for (const NamedTensor& entry : built.target.tensors) {
    if (entry.kind == TensorKind::kParameter) detail::require_gradients(entry.tensor);
  }
  built.module->train();
  result.module = std::move(built.module);
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
  detail::check_cast_options(options);
  MetaResult result;
  result.module = create_fake_score(teacher);
  result.report.deep_copy = true;
  result.report.backend = communicator.backend();
  detail::cast_floating_tensors(module_tensors(*result.module), options);
  if (options.verify) {
    result.report.digest =
        detail::verify_across_ranks(communicator, module_tensors(*result.module), options.root);
  }
  return result;
}

std::vector<TeacherTensor> broadcast_teacher_tensors(const TeacherSource& teacher,
                                                     Communicator& communicator, int root) {
  std::string bytes;
  run_agreed(communicator, "plan", ErrorCode::kTeacher, [&] {
    if (communicator.rank() == root) bytes = detail::to_wire(teacher.open()->tensors());
  });
  return std::get<0>(detail::from_wire<std::vector<TeacherTensor>>(
      communicator.broadcast_message(bytes, root, "plan"), "the teacher's tensors"));
}

}  // namespace fakescore
