#include "target.hpp"

#include <array>

#include "fakescore/error.hpp"
#include "fakescore/fill/cast_tensors.hpp"
#include "fakescore/fill/dry_run.hpp"
#include "json.hpp"
#include "reply.hpp"
#include "shards.hpp"

namespace fakescore::python {
namespace {

ErrorCode code_of(const std::string& word) {
  constexpr std::array<ErrorCode, 7> kCodes{
      ErrorCode::kInternal, ErrorCode::kConfig, ErrorCode::kTeacher, ErrorCode::kBuild,
      ErrorCode::kMismatch, ErrorCode::kMemory, ErrorCode::kPeerLost};
  for (const ErrorCode code : kCodes) {
    if (word == to_string(code)) return code;
  }
  return ErrorCode::kInternal;
}

}  // namespace

std::string TargetHolder::set_tensors(const std::vector<std::string>& names,
                                      const std::vector<at::Tensor>& tensors,
                                      const std::vector<int64_t>& kinds, bool is_given) {
  return reply_done([&] {
    target_.tensors.clear();
    for (size_t i = 0; i < names.size(); ++i) {
      target_.tensors.push_back({names[i], tensors.at(i), static_cast<TensorKind>(kinds.at(i))});
    }
    target_.storage = is_given ? StoragePolicy::kGiven : StoragePolicy::kAllocate;
  });
}

std::string TargetHolder::set_shards(const std::vector<int64_t>& indices,
                                     const std::vector<std::vector<int64_t>>& global_sizes,
                                     const std::vector<std::vector<int64_t>>& offsets,
                                     const std::vector<std::vector<int64_t>>& flattened_from) {
  return reply_done([&] {
    fakescore::python::set_shards(target_.tensors, indices, global_sizes, offsets, flattened_from);
  });
}

void TargetHolder::set_recorded(const c10::List<std::optional<at::Tensor>>& recorded) {
  target_.recorded.clear();
  for (const std::optional<at::Tensor>& tensor : recorded) {
    target_.recorded.push_back(tensor.value_or(at::Tensor()));
  }
}

void TargetHolder::set_failure(const std::string& code, const std::string& subject,
                               const std::string& message, const std::string& remedy) {
  failure_ = ErrorInfo{code_of(code), -1, "", subject, message, remedy};
}

std::string TargetHolder::cast(const std::string& dtype, const std::vector<std::string>& patterns,
                               const std::vector<std::string>& dtypes) {
  return reply_done([&] {
    CastOptions options;
    if (!dtype.empty()) options.dtype = dtype_of(dtype);
    for (size_t i = 0; i < patterns.size(); ++i) {
      options.dtype_rules.push_back({patterns[i], dtype_of(dtypes.at(i))});
    }
    cast_floating_tensors(target_.tensors, options);
    target_.settings = describe(options);
  });
}

const FillTarget& TargetHolder::get() const {
  if (failure_) throw_error(*failure_);
  return target_;
}

std::string TargetHolder::plan(const c10::intrusive_ptr<TeacherHolder>& teacher, int64_t world_size,
                               const std::string& options, const std::string& shape) const {
  return reply([&] {
    const FillOptions fill = fill_options(options);
    const DryRunReport report =
        dry_run([this] { return get(); }, teacher->get(), static_cast<int>(world_size), fill);
    nlohmann::json planned = to_json(report);
    planned["forecasts"] = nlohmann::json::parse(
        fakescore::to_json(forecast(report.tensors, forecast_options(shape, fill))));
    return planned;
  });
}

void register_target(torch::Library& library) {
  library.class_<TargetHolder>("Target")
      .def(torch::init<>())
      .def("set_tensors", &TargetHolder::set_tensors)
      .def("set_shards", &TargetHolder::set_shards)
      .def("set_tape", &TargetHolder::set_tape)
      .def("set_recorded", &TargetHolder::set_recorded)
      .def("set_failure", &TargetHolder::set_failure)
      .def("cast", &TargetHolder::cast)
      .def("plan", &TargetHolder::plan);
}

}  // namespace fakescore::python
