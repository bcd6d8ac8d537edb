#pragma once

#include <torch/custom_class.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <tuple>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/transfer/progress.hpp"
#include "target.hpp"
#include "teacher.hpp"

namespace fakescore::python {

/// A Communicator and its calls. One thread is in a call; `interrupt` and `progress` are for
/// another.
class CommunicatorHolder : public torch::CustomClassHolder {
 public:
  /// Of this process alone.
  std::string make_local(int64_t timeout_ms);
  /// Of a job's process group. `device` is where the tensors are that its calls move. Waits for the
  /// other ranks.
  std::string adopt(const c10::intrusive_ptr<c10d::ProcessGroup>& group, at::Device device,
                    int64_t timeout_ms);

  /// From here to `end_work`, both on one thread, the other ranks hear that this one is at work on
  /// `what`: in Python, before its call.
  std::string begin_work(const std::string& what);
  void end_work() { work_.reset(); }

  /// Communicator::compare: the reply says rank 0's value, the lowest rank that has another one,
  /// or -1, and that.
  std::string compare(const std::string& value, const std::string& what);
  /// fill_tensors; `options` are FillOptions as JSON. The reply is a FillReport.
  std::string fill(const c10::intrusive_ptr<TargetHolder>& target,
                   const c10::intrusive_ptr<TeacherHolder>& teacher, const std::string& options);
  /// sync_tensors; the reply is a SyncReport.
  std::string sync(const c10::intrusive_ptr<TargetHolder>& target, const std::string& options);

  /// The call that waits for other ranks, or the next that would, fails on all of them.
  void interrupt();
  /// After an interrupt, once no call runs: the other ranks hear of it where none had waited.
  void abandon();
  /// Phase, bytes done and bytes in all of the call that runs; an empty phase before any.
  std::tuple<std::string, int64_t, int64_t> progress() const;

 private:
  /// Of the calling job, and of this holder.
  ProgressCallback watch();

  /// Before a call may wait for the other ranks.
  void be_interrupted_by(std::shared_ptr<ControlPlane> control);

  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<OwnWork> work_;  ///< goes before the communicator
  std::atomic<bool> interrupted_{false};
  mutable std::mutex mutex_;  // guards what follows
  Progress progress_;
  std::shared_ptr<ControlPlane> control_;
};

void register_communicator(torch::Library& library);

}  // namespace fakescore::python
