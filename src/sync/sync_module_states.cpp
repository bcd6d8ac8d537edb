#include "fakescore/sync/sync_module_states.hpp"

#include <ATen/EmptyTensor.h>
#include <torch/nn/module.h>

#include <chrono>

#include "fakescore/core/error.hpp"
#include "fakescore/core/module_tensors.hpp"
#include "fakescore/sync/run_agreed.hpp"
#include "sync/agreement.hpp"
#include "sync/broadcast_pipeline.hpp"
#include "sync/options_check.hpp"
#include "sync/storage_bytes.hpp"
#include "sync/verify.hpp"

namespace fakescore {
namespace {

/// FSDP and its like take a tensor's memory away by resizing its storage.
bool lies_in_its_storage(const at::Tensor& tensor) {
  const size_t needed =
      at::detail::computeStorageNbytes(tensor.sizes(), tensor.strides(), tensor.itemsize(),
                                       static_cast<size_t>(tensor.storage_offset()));
  return tensor.numel() == 0 || needed <= tensor.storage().nbytes();
}

void check_tensors(const std::vector<ModuleTensor>& tensors) {
  for (const ModuleTensor& entry : tensors) {
    if (entry.tensor.defined() && !entry.tensor.is_cpu()) {
      throw_error({ErrorCode::kConfig, -1, "", entry.name,
                   "is on " + entry.tensor.device().str() + ", not on the CPU",
                   "materialise a meta module with create_fake_score_meta"});
    }
    if (entry.tensor.defined() && entry.tensor.has_storage() &&
        !lies_in_its_storage(entry.tensor)) {
      throw_error({ErrorCode::kConfig, -1, "", entry.name,
                   "needs more memory than its storage of " +
                       std::to_string(entry.tensor.storage().nbytes()) + " bytes has",
                   "gather the module's full tensors first"});
    }
  }
}

std::vector<detail::Transfer> make_transfers(const std::vector<ModuleTensor>& tensors,
                                             const Manifest& manifest) {
  const auto ranges = detail::occupied_bytes_by_group(manifest);
  std::vector<detail::Transfer> transfers(ranges.size());
  for (size_t i = tensors.size(); i-- > 0;) {
    const auto group = static_cast<size_t>(manifest.specs()[i].alias_group);
    transfers[group].name = tensors[i].name;
    transfers[group].destination = detail::storage_bytes(tensors[i].tensor);
    transfers[group].layout.ranges = ranges[group];
  }
  return transfers;
}

}  // namespace

SyncReport sync_module_states(torch::nn::Module& module, Communicator& communicator,
                              const SyncOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<ModuleTensor> tensors;
  Manifest manifest;
  run_agreed(communicator, "agree", ErrorCode::kConfig, [&] {
    detail::check_options(communicator, options.root, options.bucket_bytes);
    tensors = module_tensors(module);
    check_tensors(tensors);
    manifest = Manifest(tensors);
  });
  detail::agree_on_value(communicator, "agree", "options",
                         "root=" + std::to_string(options.root) +
                             " bucket_bytes=" + std::to_string(options.bucket_bytes) +
                             " verify=" + std::to_string(options.verify));
  detail::agree_on_manifest(communicator, manifest, options.root);

  const auto transfers = make_transfers(tensors, manifest);
  const auto result = detail::broadcast_transfers(
      communicator, transfers, {options.root, options.bucket_bytes, "move", options.progress});
  detail::agree(communicator, "move", result.failure);

  SyncReport report;
  report.bytes = result.bytes;
  if (options.verify) {
    report.digest = detail::verify_across_ranks(communicator, tensors, options.root);
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

}  // namespace fakescore
