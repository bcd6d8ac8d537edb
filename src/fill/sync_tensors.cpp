#include "fakescore/fill/sync_tensors.hpp"

#include <chrono>
#include <optional>
#include <utility>

#include "comm/control/agreement.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fill/check_options.hpp"
#include "fill/fill_context.hpp"
#include "fill/given_memory.hpp"
#include "fill/job_hosts.hpp"
#include "fill/link_count.hpp"
#include "fill/manifest_agreement.hpp"
#include "fill/send_transfers.hpp"
#include "tensor/storage_bytes.hpp"
#include "transfer/verify.hpp"

namespace fakescore {
namespace {

constexpr const char* kMovePhase = "move";

/// The GPU of a module's tensors; nullopt where all are on the CPU.
std::optional<at::Device> find_gpu(const std::vector<NamedTensor>& tensors) {
  std::optional<at::Device> gpu;
  for (const NamedTensor& entry : tensors) {
    if (!entry.tensor.defined() || entry.tensor.is_cpu()) continue;
    const at::Device device = entry.tensor.device();
    if (!device.is_cuda()) {
      throw ConfigError(entry.name, "is on " + device.str() + ", neither on the CPU nor on a GPU",
                        "materialise a meta module with create_fake_score_meta");
    }
    if (gpu && *gpu != device) {
      throw ConfigError(entry.name,
                        "is on " + device.str() + ", but another tensor is on " + gpu->str(),
                        "keep a rank's module on one GPU");
    }
    gpu = device;
  }
  return gpu;
}

/// One letter a tensor: ranks hold the same tensors on the same kind of device.
std::string describe_devices(const std::vector<NamedTensor>& tensors) {
  std::string kinds;
  for (const NamedTensor& entry : tensors) kinds += entry.tensor.is_cpu() ? 'c' : 'g';
  return kinds;
}

using Transfers = std::vector<detail::Transfer>;

/// What lies in host memory, and what on the GPU.
std::pair<Transfers, Transfers> make_transfers(const std::vector<NamedTensor>& tensors,
                                               const Manifest& manifest, int root, bool is_root) {
  const auto ranges = detail::occupied_bytes_by_group(manifest);
  Transfers transfers;
  for (int64_t group = 0; group < manifest.alias_groups(); ++group) {
    const NamedTensor& first = tensors[manifest.index_of_first(group)];
    detail::TransferLayout layout{ranges[static_cast<size_t>(group)]};
    layout.root = root;
    transfers.push_back({first.name, std::move(layout), detail::storage_bytes(first.tensor),
                         is_root ? detail::Source(detail::InDestination{}) : detail::Received{}});
  }
  const auto gpu_begin =
      std::stable_partition(transfers.begin(), transfers.end(),
                            [](const detail::Transfer& t) { return t.destination.is_cpu(); });
  Transfers on_gpu(std::make_move_iterator(gpu_begin), std::make_move_iterator(transfers.end()));
  transfers.erase(gpu_begin, transfers.end());
  return {std::move(transfers), std::move(on_gpu)};
}

}  // namespace

SyncReport sync_tensors(const TensorLister& list, Communicator& communicator,
                        const SyncOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<NamedTensor> tensors;
  Manifest manifest;
  std::optional<at::Device> gpu;
  run_agreed(communicator, "agree", ErrorCode::kConfig, [&] {
    detail::check_root_and_buckets(communicator.world_size(), options.root, options.bucket_bytes);
    tensors = list();
    detail::require_whole(tensors);
    detail::require_memory(tensors);
    // Throws where the communicator cannot carry them.
    gpu = find_gpu(tensors);
    if (gpu) communicator.bulk(*gpu);
    manifest = Manifest(tensors);
  });
  detail::agree_on_value(communicator, "agree", "options",
                         "root=" + std::to_string(options.root) +
                             " bucket_bytes=" + detail::describe_bytes(options.bucket_bytes) +
                             " verify=" + std::to_string(options.verify));
  detail::agree_on_manifest(communicator, manifest, options.root);
  detail::agree_on_value(communicator, "agree", "devices of the module's tensors",
                         describe_devices(tensors));

  auto [on_host, on_gpu] =
      make_transfers(tensors, manifest, options.root, communicator.rank() == options.root);
  FillOptions fill;
  fill.root = options.root;
  fill.bucket_bytes = options.bucket_bytes;
  fill.progress = options.progress;
  detail::LinkCount links(communicator.rank(), detail::hosts_of_ranks(communicator, kMovePhase));
  const auto send = [&](Transfers transfers, at::Device device) {
    const detail::FillContext context{communicator, fill, device};
    return detail::send_transfers(context, std::move(transfers), {}, links, kMovePhase);
  };
  SyncReport report;
  report.bytes = send(std::move(on_host), at::kCPU);
  if (gpu) report.bytes += send(std::move(on_gpu), *gpu);
  if (options.verify) {
    report.digest = detail::verify_across_ranks(communicator, tensors, options.root);
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

SyncReport sync_tensors(const std::vector<NamedTensor>& tensors, Communicator& communicator,
                        const SyncOptions& options) {
  return sync_tensors([&tensors] { return tensors; }, communicator, options);
}

}  // namespace fakescore
