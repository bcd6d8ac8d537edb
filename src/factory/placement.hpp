#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "factory/host_memory.hpp"
#include "factory/load_plan.hpp"
#include "fakescore/core/manifest.hpp"

namespace fakescore::detail {

/// The storages of a module, one per alias group, and the tensors that lie in them.
class Placement {
 public:
  explicit Placement(const Manifest& manifest, at::Device device = at::kCPU)
      : manifest_(manifest),
        device_(device),
        storage_bytes_(manifest.storage_bytes()),
        storages_(static_cast<size_t>(manifest.alias_groups())) {}

  /// Makes a group's storage, its pages untouched.
  void allocate(int64_t group) { allocate(group, device_); }
  /// The same on another device, as a copy of a module that lies on several needs it.
  void allocate(int64_t group, at::Device device);
  /// Throws MemoryError where one of `limits`, which `sharers` ranks share each, is less than what
  /// their modules need. Linux grants memory that it does not have, and kills whoever touches it.
  void check_fits(const std::vector<MemoryLimit>& limits, const std::vector<size_t>& sharers) const;
  /// Takes the values of CPU storage, itself where the placement is on the CPU; `tensor` is any
  /// tensor in it.
  void adopt(int64_t group, const at::Tensor& tensor);

  /// A group's storage as 1-D uint8.
  const at::Tensor& bytes(int64_t group) const { return storages_.at(static_cast<size_t>(group)); }
  const std::vector<at::Tensor>& storages() const noexcept { return storages_; }
  /// Entry `spec` of the manifest in its storage.
  at::Tensor tensor(size_t spec) const;

 private:
  const Manifest& manifest_;
  at::Device device_;
  std::vector<size_t> storage_bytes_;
  std::vector<at::Tensor> storages_;
};

}  // namespace fakescore::detail
