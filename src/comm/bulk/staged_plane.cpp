#include "comm/bulk/staged_plane.hpp"

#include <ATen/Functions.h>

#include <algorithm>
#include <utility>

#include "comm/bulk/controlled_plane.hpp"
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
class FinishedOperation : public PendingOperation {
 public:
  void wait() override {}
};

class StagedPlane : public ControlledPlane {
 public:
  StagedPlane(std::shared_ptr<ControlPlane> control, std::shared_ptr<BulkPlane> host,
              at::Device device)
      : ControlledPlane(std::move(control), host->backend() + kStaged, device, "staged"),
        host_(std::move(host)),
        staging_(allocate_staging()) {}

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override {
    require_healthy();
    require_broadcast(buffer, root, what);
    const bool is_root = control().rank() == root;
    for (int64_t begin = 0; begin < buffer.numel(); begin += kStagingBytes) {
      const int64_t bytes = std::min(buffer.numel() - begin, kStagingBytes);
      const at::Tensor on_device = buffer.narrow(0, begin, bytes);
      const at::Tensor on_host = staging_.narrow(0, 0, bytes);
      // Blocking copies: the host uses the staging memory right before and after.
      if (is_root) on_host.copy_(on_device);
      host_->start_broadcast(on_host, root, what)->wait();
      if (!is_root) on_device.copy_(on_host);
    }
    return std::make_unique<FinishedOperation>();
  }

  /// Whole, for the host's plane moves parcels and not pieces of them.
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override {
    require_healthy();
    require_exchange(exchange, what);
    Exchange on_host = exchange;
    on_host.outgoing = exchange.outgoing.cpu();
    on_host.incoming = at::empty(exchange.incoming.sizes(), at::kByte);
    host_->start_exchange(on_host, what)->wait();
    exchange.incoming.copy_(on_host.incoming);
    return std::make_unique<FinishedOperation>();
  }

  /// Nothing waits here but in the host's plane.
  void break_off(const std::string&) noexcept override {}

 private:
  std::shared_ptr<BulkPlane> host_;
  at::Tensor staging_;
};

}  // namespace

std::unique_ptr<BulkPlane> stage_through_host(std::shared_ptr<ControlPlane> control,
                                              std::shared_ptr<BulkPlane> host, at::Device device) {
  return std::make_unique<StagedPlane>(std::move(control), std::move(host), device);
}

}  // namespace fakescore::detail
