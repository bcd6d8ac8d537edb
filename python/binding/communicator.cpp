#include "communicator.hpp"

#include <exception>
#include <utility>

#include "fakescore/comm/adopt_c10d.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "json.hpp"
#include "reply.hpp"

namespace fakescore::python {
namespace {

bool has_backend(c10d::ProcessGroup& group, c10::DeviceType device) {
  try {
    static_cast<void>(group.getBackend(device));
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

std::unique_ptr<Communicator> make_control(const c10d::ProcessGroup& group,
                                           std::chrono::milliseconds timeout) {
  if (group.getSize() == 1) return std::move(make_local_communicators(1, timeout).front());
  return make_group_control(group, timeout);
}

/// Collective.
std::unique_ptr<Communicator> adopt_group(const c10::intrusive_ptr<c10d::ProcessGroup>& group,
                                          at::Device device, std::chrono::milliseconds timeout,
                                          std::unique_ptr<Communicator> control) {
  if (group->getSize() == 1) return control;
  const bool has_nccl = device.is_cuda() && has_backend(*group, c10::kCUDA);
  if (has_nccl || has_backend(*group, c10::kCPU)) {
    return adopt_process_group(group, has_nccl ? device : at::kCPU, std::move(control), timeout);
  }
  // A job with NCCL alone, and tensors on CPUs.
  return share_host_memory(std::move(control));
}

}  // namespace

std::string CommunicatorHolder::make_local(int64_t timeout_ms) {
  return reply_done([&] {
    communicator_ =
        std::move(make_local_communicators(1, std::chrono::milliseconds(timeout_ms)).front());
    be_interrupted_by(communicator_->control_plane());
  });
}

std::string CommunicatorHolder::adopt(const c10::intrusive_ptr<c10d::ProcessGroup>& group,
                                      at::Device device, int64_t timeout_ms) {
  return reply_done([&] {
    const std::chrono::milliseconds timeout(timeout_ms);
    auto control = make_control(*group, timeout);
    be_interrupted_by(control->control_plane());
    communicator_ = adopt_group(group, device, timeout, std::move(control));
  });
}

std::string CommunicatorHolder::begin_work(const std::string& what) {
  return reply_done([&] { work_ = communicator_->begin_work(what); });
}

std::string CommunicatorHolder::compare(const std::string& value, const std::string& what) {
  return reply([&] {
    const Comparison found = communicator_->compare(value, what);
    return nlohmann::json{{"of_rank_0", found.of_rank_0},
                          {"other_rank", found.other_rank},
                          {"of_other_rank", found.of_other_rank}};
  });
}

std::string CommunicatorHolder::fill(const c10::intrusive_ptr<TargetHolder>& target,
                                     const c10::intrusive_ptr<TeacherHolder>& teacher,
                                     const std::string& options) {
  return reply([&] {
    FillOptions given;
    std::exception_ptr unreadable;
    try {
      given = fill_options(options);
    } catch (...) {
      unreadable = std::current_exception();
    }
    given.progress = watch();
    // What fails here is raised on all ranks.
    const auto build = [&] {
      if (unreadable) std::rethrow_exception(unreadable);
      return target->get();
    };
    return to_json(fill_tensors(build, teacher->get(), *communicator_, given));
  });
}

std::string CommunicatorHolder::sync(const c10::intrusive_ptr<TargetHolder>& target,
                                     const std::string& options) {
  return reply([&] {
    SyncOptions given = sync_options(options);
    given.progress = watch();
    return to_json(sync_tensors([&] { return target->get().tensors; }, *communicator_, given));
  });
}

void CommunicatorHolder::be_interrupted_by(std::shared_ptr<ControlPlane> control) {
  const std::lock_guard<std::mutex> lock(mutex_);
  control_ = std::move(control);
  if (interrupted_) control_->interrupt();
}

void CommunicatorHolder::interrupt() {
  const std::lock_guard<std::mutex> lock(mutex_);
  interrupted_ = true;
  if (control_) control_->interrupt();
}

void CommunicatorHolder::abandon() {
  if (communicator_) communicator_->abandon("was interrupted");
}

std::tuple<std::string, int64_t, int64_t> CommunicatorHolder::progress() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {progress_.phase, static_cast<int64_t>(progress_.done_bytes),
          static_cast<int64_t>(progress_.total_bytes)};
}

ProgressCallback CommunicatorHolder::watch() {
  return [this](const Progress& progress) {
    if (interrupted_) throw InternalError("call", "was interrupted");
    const std::lock_guard<std::mutex> lock(mutex_);
    progress_ = progress;
  };
}

void register_communicator(torch::Library& library) {
  library.class_<CommunicatorHolder>("Communicator")
      .def(torch::init<>())
      .def("make_local", &CommunicatorHolder::make_local)
      .def("adopt", &CommunicatorHolder::adopt)
      .def("begin_work", &CommunicatorHolder::begin_work)
      .def("end_work", &CommunicatorHolder::end_work)
      .def("compare", &CommunicatorHolder::compare)
      .def("fill", &CommunicatorHolder::fill)
      .def("sync", &CommunicatorHolder::sync)
      .def("interrupt", &CommunicatorHolder::interrupt)
      .def("abandon", &CommunicatorHolder::abandon)
      .def("progress", &CommunicatorHolder::progress);
}

}  // namespace fakescore::python
