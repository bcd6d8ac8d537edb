#pragma once

#include <memory>

#include "comm/staged_communicator.hpp"
#include "fakescore/comm/communicator.hpp"
#include "fakescore/error.hpp"
#include "fakescore/tensor/cuda.hpp"

namespace fakescore::detail {

/// The communicator that carries bulk data for `device`: the job's own where it can, else one that
/// stages through host memory. The job's must outlive it.
class DataPlane {
 public:
  /// Throws ConfigError where the job's communicator belongs to another GPU.
  DataPlane(Communicator& job, at::Device device) : job_(job) {
    if (device == job.device() || device.is_cpu()) return;
    load_cuda();
    if (!device.has_index()) {
      throw ConfigError("device " + device.str(), "has no index",
                        "give this rank's GPU with its index, such as cuda:0");
    }
    if (!job.device().is_cpu()) {
      throw ConfigError("device " + device.str(),
                        "is not the communicator's device, which is " + job.device().str(),
                        "make the communicator for the GPU that the module is on");
    }
    staged_ = stage_through_host(job, device);
  }

  Communicator& communicator() const { return staged_ ? *staged_ : job_; }

 private:
  Communicator& job_;
  std::unique_ptr<Communicator> staged_;
};

}  // namespace fakescore::detail
