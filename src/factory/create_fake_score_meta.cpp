#include <nlohmann/json.hpp>

#include "factory/cast_module.hpp"
#include "factory/meta_job.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/factory/fake_score_meta.hpp"
#include "sync/verify.hpp"

namespace fakescore {
namespace {

using nlohmann::json;

/// Sets a communicator's timeout for the length of a call. An invalid one is ignored here: the job
/// rejects it on all ranks together, and needs a valid timeout to do so.
class TimeoutScope {
 public:
  TimeoutScope(Communicator& communicator, std::optional<std::chrono::milliseconds> timeout)
      : communicator_(communicator), before_(communicator.timeout()) {
    if (timeout && timeout->count() > 0) communicator_.set_timeout(*timeout);
  }
  ~TimeoutScope() { communicator_.set_timeout(before_); }
  TimeoutScope(const TimeoutScope&) = delete;
  TimeoutScope& operator=(const TimeoutScope&) = delete;

 private:
  Communicator& communicator_;
  std::chrono::milliseconds before_;
};

std::string encode(const std::vector<TeacherTensor>& tensors) {
  json entries = json::array();
  for (const TeacherTensor& tensor : tensors) {
    entries.push_back({tensor.name, tensor.sizes, static_cast<int>(tensor.dtype), tensor.file});
  }
  std::string bytes;
  json::to_msgpack(entries, bytes);
  return bytes;
}

std::vector<TeacherTensor> decode(const std::string& bytes) {
  std::vector<TeacherTensor> tensors;
  for (const json& entry : json::from_msgpack(bytes)) {
    tensors.push_back({entry.at(0).get<std::string>(), entry.at(1).get<std::vector<int64_t>>(),
                       static_cast<at::ScalarType>(entry.at(2).get<int>()),
                       entry.at(3).get<std::string>()});
  }
  return tensors;
}

}  // namespace

MetaResult create_fake_score_meta(const ModuleBuilder& build, const TeacherSource& teacher,
                                  Communicator& communicator, const MetaOptions& options) {
  const TimeoutScope timeout(communicator, options.timeout);
  return detail::MetaJob(build, teacher, communicator, options).run();
}

MetaResult create_fake_score_meta(const std::shared_ptr<torch::nn::Module>& teacher,
                                  Communicator& communicator, const MetaOptions& options) {
  if (communicator.world_size() > 1) {
    throw_error({ErrorCode::kConfig, -1, "create_fake_score_meta", "build",
                 "no builder was given in a job of " + std::to_string(communicator.world_size()) +
                     " ranks; a live teacher alone is enough for one rank only",
                 "pass a callable that builds the module on every rank, and the teacher as "
                 "TeacherSource::module, TeacherSource::state_dict or TeacherSource::path"});
  }
  detail::check_meta_options(communicator.world_size(), options);
  MetaResult result;
  result.module = create_fake_score(teacher);
  result.report.deep_copy = true;
  result.report.backend = communicator.backend();
  detail::cast_floating_tensors(*result.module, options);
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
    if (communicator.rank() == root) bytes = encode(teacher.open()->tensors());
  });
  return decode(communicator.broadcast_message(bytes, root, "plan"));
}

}  // namespace fakescore
