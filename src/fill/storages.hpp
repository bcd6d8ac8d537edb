#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "fakescore/tensor/manifest.hpp"
#include "fill/host_memory.hpp"

namespace fakescore::detail {

/// The storages of a list of tensors, one per alias group, and the tensors that lie in them.
class Storages {
 public:
  explicit Storages(const Manifest& manifest, at::Device device = at::kCPU)
      : manifest_(manifest),
        device_(device),
        storage_bytes_(manifest.storage_bytes()),
        storages_(static_cast<size_t>(manifest.alias_groups())) {}

  /// Takes a group's storage from `tensor`, any tensor in it.
  void take(int64_t group, const at::Tensor& tensor);
  /// Makes a group's storage, its pages untouched.
  void allocate(int64_t group) { allocate(group, device_); }
  /// The same on another device, as a copy of tensors that lie on several needs it.
  void allocate(int64_t group, at::Device device);
  /// Throws MemoryError where one of `limits`, which `sharers` ranks share each, is less than what
  /// those of its storages need that are yet to be allocated. Linux grants memory that it does not
  /// have, and kills whoever touches it.
  void check_fits(const std::vector<MemoryLimit>& limits, const std::vector<size_t>& sharers) const;
  /// Gives a group's storage the values of another one, on the CPU; `tensor` is any tensor in that.
  void copy_from(int64_t group, const at::Tensor& tensor);

  /// A group's storage as 1-D uint8.
  const at::Tensor& bytes(int64_t group) const { return storages_.at(static_cast<size_t>(group)); }
  const std::vector<at::Tensor>& all() const noexcept { return storages_; }
  /// Entry `spec` of the manifest in its storage.
  at::Tensor tensor(size_t spec) const;

 private:
  const Manifest& manifest_;
  at::Device device_;
  std::vector<size_t> storage_bytes_;
  std::vector<at::Tensor> storages_;
};

}  // namespace fakescore::detail
