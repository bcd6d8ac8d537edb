#include "factory/cast_module.hpp"

#include <torch/nn/module.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "fakescore/core/module_tensors.hpp"

namespace fakescore::detail {
namespace {

bool same_geometry(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.strides() == b.strides() &&
         a.storage_offset() == b.storage_offset() && a.is_neg() == b.is_neg();
}

/// One cast storage for tensors that are different views of one storage: the elements up to the
/// last that any of them reaches are cast as a flat tensor, of which each takes its view again.
void cast_views(std::vector<at::Tensor>& views, at::ScalarType dtype) {
  const at::Tensor first =
      views.front().is_neg() ? at::_neg_view(views.front().detach()) : views.front().detach();
  const auto elements =
      static_cast<int64_t>(first.storage().nbytes() / static_cast<size_t>(first.element_size()));
  const at::Tensor flat = first.as_strided({elements}, {1}, 0).to(dtype);
  for (at::Tensor& view : views) {
    const at::Tensor cast = flat.as_strided(view.sizes(), view.strides(), view.storage_offset());
    view.set_data(view.is_neg() ? at::_neg_view(cast) : cast);
  }
}

void cast_group(std::vector<at::Tensor>& tensors, at::ScalarType dtype) {
  const bool one_view = std::all_of(tensors.begin(), tensors.end(), [&](const at::Tensor& tensor) {
    return same_geometry(tensor, tensors.front());
  });
  if (!one_view) {
    cast_views(tensors, dtype);
    return;
  }
  const at::Tensor cast = tensors.front().detach().to(dtype);
  for (at::Tensor& tensor : tensors) tensor.set_data(cast);
}

}  // namespace

void cast_floating_tensors(torch::nn::Module& module, at::ScalarType dtype,
                           const std::vector<at::Tensor>& plain) {
  const at::NoGradGuard no_grad;
  const auto is_cast = [dtype](const at::Tensor& tensor) {
    return at::isFloatingType(tensor.scalar_type()) && tensor.scalar_type() != dtype;
  };
  std::vector<std::vector<at::Tensor>> groups;
  std::unordered_map<const c10::StorageImpl*, size_t> group_of;
  for (const ModuleTensor& entry : module_tensors(module)) {
    if (!is_cast(entry.tensor)) continue;
    const auto [group, is_new] =
        group_of.try_emplace(entry.tensor.storage().unsafeGetStorageImpl(), groups.size());
    if (is_new) groups.emplace_back();
    groups[group->second].push_back(entry.tensor);
  }
  for (const at::Tensor& tensor : plain) {
    const auto group = group_of.find(tensor.storage().unsafeGetStorageImpl());
    if (group != group_of.end() && is_cast(tensor)) groups[group->second].push_back(tensor);
  }
  for (auto& group : groups) cast_group(group, dtype);
}

}  // namespace fakescore::detail
