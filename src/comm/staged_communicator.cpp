#include "comm/staged_communicator.hpp"

#include <ATen/Functions.h>

#include <algorithm>

#include "comm/controlled_communicator.hpp"
#include "error/torch_error.hpp"

namespace fakescore::detail {
namespace {

constexpr int64_t kStagingBytes = int64_t{4} << 20;

at::Tensor allocate_staging() {
  try {
    return at::empty({kStagingBytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
  } catch (const c10::Error& error) {
    throw MemoryError(
        "pinned memory",
        std::to_string(kStagingBytes) +
            " bytes for staging broadcasts cannot be allocated: " + describe(error),
        "raise the limit of locked memory (ulimit -l), or use NCCL, which stages nothing");
  }
}

/// Nothing is left to wait for: the broadcast ended where it began.
class FinishedBroadcast : public PendingBroadcast {
 public:
  void wait() override {}
};

class StagedCommunicator : public ControlledCommunicator {
 public:
  StagedCommunicator(Communicator& host, at::Device device)
      : ControlledCommunicator({std::shared_ptr<void>(), &host},
                               host.backend() + ", staged through host memory", device, "staged"),
        staging_(allocate_staging()) {}

 private:
  std::unique_ptr<PendingBroadcast> start_bulk(const at::Tensor& buffer, int root,
                                               const std::string& what) override {
    control().set_timeout(timeout());
    for (int64_t begin = 0; begin < buffer.numel(); begin += kStagingBytes) {
      const int64_t bytes = std::min(buffer.numel() - begin, kStagingBytes);
      const at::Tensor on_device = buffer.narrow(0, begin, bytes);
      const at::Tensor on_host = staging_.narrow(0, 0, bytes);
      // Blocking copies: the host uses the staging memory right before and after.
      if (rank() == root) on_host.copy_(on_device);
      control().start_broadcast(on_host, root, what)->wait();
      if (rank() != root) on_device.copy_(on_host);
    }
    return std::make_unique<FinishedBroadcast>();
  }
  void break_data_plane(const std::string&) noexcept override {}

  at::Tensor staging_;
};

}  // namespace

std::unique_ptr<Communicator> stage_through_host(Communicator& host, at::Device device) {
  return std::make_unique<StagedCommunicator>(host, device);
}

}  // namespace fakescore::detail
