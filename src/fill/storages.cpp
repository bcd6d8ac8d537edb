#include "fill/storages.hpp"

#include <ATen/Functions.h>

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "error/torch_error.hpp"
#include "fakescore/error.hpp"
#include "tensor/storage_bytes.hpp"

namespace fakescore::detail {

void Storages::allocate(int64_t group, at::Device device) {
  const size_t bytes = storage_bytes_[static_cast<size_t>(group)];
  try {
    storages_[static_cast<size_t>(group)] =
        at::empty({static_cast<int64_t>(bytes)}, at::dtype(at::kByte).device(device));
  } catch (const c10::Error& error) {
    throw MemoryError(
        manifest_.first_of_group(group).name,
        std::to_string(bytes) + " bytes cannot be allocated: " + describe(error),
        "give each rank more memory, start fewer ranks on each host, or use a smaller dtype");
  }
}

void Storages::check_fits(const std::vector<MemoryLimit>& limits,
                          const std::vector<size_t>& sharers) const {
  double bytes = 0;
  size_t largest = 0;
  for (size_t group = 0; group < storages_.size(); ++group) {
    if (storages_[group].defined()) continue;  // it is there
    bytes += static_cast<double>(storage_bytes_[group]);
    if (storage_bytes_[group] > storage_bytes_[largest] || storages_[largest].defined())
      largest = group;
  }
  for (size_t i = 0; i < limits.size(); ++i) {
    const double needed = bytes * static_cast<double>(sharers[i]);
    if (needed <= static_cast<double>(limits[i].available)) continue;
    std::ostringstream text;
    text << std::fixed << std::setprecision(0) << "the module needs " << bytes
         << " bytes on each of " << sharers[i] << " ranks in " << limits[i].name << ", where "
         << limits[i].available << " are available; its largest tensor, "
         << manifest_.first_of_group(static_cast<int64_t>(largest)).name << ", needs "
         << storage_bytes_[largest];
    throw MemoryError(
        "memory", text.str(),
        "use hosts with more memory, start fewer ranks on each, or use a smaller dtype");
  }
}

void Storages::take(int64_t group, const at::Tensor& tensor) {
  storages_[static_cast<size_t>(group)] = storage_bytes(tensor);
}

void Storages::copy_from(int64_t group, const at::Tensor& tensor) {
  const at::Tensor& to = bytes(group);
  const size_t needed = storage_bytes_[static_cast<size_t>(group)];
  part(to, 0, needed).copy_(part(storage_bytes(tensor), 0, needed));
}

at::Tensor Storages::tensor(size_t spec_index) const {
  const TensorSpec& spec = manifest_.specs()[spec_index];
  const at::Tensor& storage = bytes(spec.alias_group);
  at::Tensor tensor = at::empty({0}, storage.options().dtype(spec.dtype));
  tensor.set_(storage.storage(), spec.storage_offset, spec.sizes, spec.strides);
  tensor._set_conj(spec.conj);
  tensor._set_neg(spec.neg);
  return tensor;
}

}  // namespace fakescore::detail
