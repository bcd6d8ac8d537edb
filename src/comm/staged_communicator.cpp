#include "comm/staged_communicator.hpp"

#include <ATen/Functions.h>

#include <algorithm>

#include "comm/base_communicator.hpp"

namespace fakescore::detail {
namespace {

constexpr int64_t kStagingBytes = int64_t{4} << 20;

/// Nothing is left to wait for: the broadcast ended where it began.
class FinishedBroadcast : public PendingBroadcast {
 public:
  void wait() override {}
};

class StagedCommunicator : public BaseCommunicator {
 public:
  StagedCommunicator(Communicator& host, at::Device device)
      : BaseCommunicator(host.rank(), host.world_size(), host.timeout(),
                         host.backend() + ", staged through host memory", device),
        host_(host),
        staging_(
            at::empty({kStagingBytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(true))) {}

  std::vector<std::string> all_gather(const std::string& message,
                                      const std::string& what) override {
    host_.set_timeout(timeout());
    return host_.all_gather(message, what);
  }
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override {
    host_.set_timeout(timeout());
    return host_.broadcast_message(message, root, what);
  }
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override {
    require_root(root, what);
    require_buffer(buffer, device(), what);
    host_.set_timeout(timeout());
    for (int64_t begin = 0; begin < buffer.numel(); begin += kStagingBytes) {
      const int64_t bytes = std::min(buffer.numel() - begin, kStagingBytes);
      const at::Tensor on_device = buffer.narrow(0, begin, bytes);
      const at::Tensor on_host = staging_.narrow(0, 0, bytes);
      // Blocking copies: the host uses the staging memory right before and after.
      if (rank() == root) on_host.copy_(on_device);
      host_.start_broadcast(on_host, root, what)->wait();
      if (rank() != root) on_device.copy_(on_host);
    }
    return std::make_unique<FinishedBroadcast>();
  }
  bool broken() const noexcept override { return host_.broken(); }
  ErrorInfo abandon(const std::string& reason) override { return host_.abandon(reason); }
  bool peer_abandoned() override { return host_.peer_abandoned(); }

 private:
  Communicator& host_;
  at::Tensor staging_;
};

}  // namespace

std::unique_ptr<Communicator> stage_through_host(Communicator& host, at::Device device) {
  return std::make_unique<StagedCommunicator>(host, device);
}

}  // namespace fakescore::detail
