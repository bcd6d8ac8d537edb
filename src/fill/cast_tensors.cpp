#include "fakescore/fill/cast_tensors.hpp"

#include <ATen/EmptyTensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_neg_view.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "fakescore/error.hpp"
#include "fill/dtype_choice.hpp"

namespace fakescore {
namespace detail {
namespace {

bool same_geometry(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.strides() == b.strides() &&
         a.storage_offset() == b.storage_offset() && a.is_neg() == b.is_neg();
}

/// A lazy negative as what lies in its storage, and back.
at::Tensor with_neg(const at::Tensor& tensor, bool neg) {
  return neg == tensor.is_neg() ? tensor : at::_neg_view(tensor);
}

/// One cast storage for tensors that are different views of one storage: the elements up to the
/// last that any of them reaches are cast as a flat tensor, of which each takes its view again.
void cast_views(std::vector<at::Tensor>& views, at::ScalarType dtype) {
  const at::Tensor first = with_neg(views.front().detach(), false);
  size_t elements = 0;
  for (const at::Tensor& view : views) {
    elements = std::max(
        elements, at::detail::computeStorageNbytes(view.sizes(), view.strides(), 1,
                                                   static_cast<size_t>(view.storage_offset())));
  }
  const at::Tensor flat = first.as_strided({static_cast<int64_t>(elements)}, {1}, 0).to(dtype);
  for (at::Tensor& view : views) {
    const at::Tensor cast = flat.as_strided(view.sizes(), view.strides(), view.storage_offset());
    view.set_data(with_neg(cast, view.is_neg()));
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
  const at::Tensor cast = with_neg(tensors.front().detach(), false).to(dtype);
  for (at::Tensor& tensor : tensors) tensor.set_data(with_neg(cast, tensor.is_neg()));
}

/// Tensors of one dtype in one storage.
struct CastGroup {
  std::string first_name;
  at::ScalarType dtype;  ///< to be
  std::vector<at::Tensor> tensors;
};

void check_same_dtype(const CastGroup& group, const std::string& name, at::ScalarType dtype) {
  if (dtype == group.dtype) return;
  throw ConfigError(name,
                    std::string("would become ") + c10::toString(dtype) +
                        ", but shares storage with " + group.first_name + ", which would become " +
                        c10::toString(group.dtype),
                    "write dtype rules that match both names");
}

void check_trainable(at::ScalarType dtype, const std::string& subject) {
  if (at::isFloatingType(dtype)) return;
  throw ConfigError(subject, std::string(c10::toString(dtype)) + " is not a floating-point dtype",
                    "give a dtype in which parameters can be trained, or leave it out");
}

void check_dtypes(const CastOptions& options) {
  if (options.dtype) check_trainable(*options.dtype, "option dtype");
  for (const DtypeRule& rule : options.dtype_rules) {
    check_trainable(rule.dtype, "dtype rule \"" + rule.pattern + "\"");
  }
}

}  // namespace
}  // namespace detail

void cast_floating_tensors(const std::vector<NamedTensor>& tensors, const CastOptions& options) {
  if (!options.dtype && options.dtype_rules.empty()) return;
  detail::check_dtypes(options);
  const at::NoGradGuard no_grad;
  const auto key_of = [](const at::Tensor& tensor) {
    return std::make_pair(tensor.storage().unsafeGetStorageImpl(), tensor.scalar_type());
  };
  detail::DtypeChoice choice(options);
  std::vector<detail::CastGroup> groups;
  std::map<std::pair<c10::StorageImpl*, at::ScalarType>, size_t> group_of;
  for (const NamedTensor& entry : tensors) {
    const at::ScalarType built = entry.tensor.scalar_type();
    if (entry.kind == TensorKind::kUnregistered || !at::isFloatingType(built)) continue;
    const at::ScalarType dtype = choice.choose(entry.name, built);
    const auto [index, is_new] = group_of.try_emplace(key_of(entry.tensor), groups.size());
    if (is_new) groups.push_back({entry.name, dtype, {}});
    detail::CastGroup& group = groups[index->second];
    detail::check_same_dtype(group, entry.name, dtype);
    group.tensors.push_back(entry.tensor);
  }
  choice.check_all_matched();
  for (const NamedTensor& entry : tensors) {
    if (entry.kind != TensorKind::kUnregistered) continue;
    const auto group = group_of.find(key_of(entry.tensor));
    if (group != group_of.end()) groups[group->second].tensors.push_back(entry.tensor);
  }
  for (detail::CastGroup& group : groups) {
    if (group.tensors.front().scalar_type() != group.dtype)
      detail::cast_group(group.tensors, group.dtype);
  }
}

std::string describe(const CastOptions& options) {
  std::string rules;
  for (const DtypeRule& rule : options.dtype_rules) {
    rules += (rules.empty() ? "" : ",") + rule.pattern + "=" + c10::toString(rule.dtype);
  }
  return std::string("dtype=") + (options.dtype ? c10::toString(*options.dtype) : "unchanged") +
         " dtype_rules=" + (rules.empty() ? "none" : rules);
}

}  // namespace fakescore
