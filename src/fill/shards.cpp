#include "fill/shards.hpp"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <string>

#include "fakescore/error.hpp"
#include "tensor/boxes.hpp"
#include "tensor/row_major.hpp"

namespace fakescore::detail {
namespace {

void check_shard(const TensorSpec& spec) {
  const std::string problem = problem_of(*spec.shard, spec.sizes);
  if (!problem.empty()) throw ConfigError(spec.name, problem, kBoxRemedy);
  if (!is_contiguous(spec)) {
    throw ConfigError(spec.name, c10::str("is a shard with strides ", spec.strides),
                      "give shards whose elements lie in row-major order");
  }
}

}  // namespace

void check_shards(const Manifest& manifest) {
  for (const TensorSpec& spec : manifest.specs()) {
    if (is_shard(spec)) check_shard(spec);
    const TensorSpec& first = manifest.first_of_group(spec.alias_group);
    if (!is_shard(spec) && !is_shard(first)) continue;
    if (spec.shard == first.shard && spec.storage_offset == first.storage_offset &&
        spec.dtype == first.dtype) {
      continue;
    }
    throw ConfigError(spec.name,
                      "shares storage with " + first.name + ", but is not the same shard",
                      "give each shard a storage of its own; ties are two names of one shard");
  }
}

bool has_shards(const Manifest& manifest) {
  return std::any_of(manifest.specs().begin(), manifest.specs().end(), is_shard);
}

std::vector<NamedTensor> shards_of(std::vector<NamedTensor> tensors) {
  std::erase_if(tensors, [](const NamedTensor& entry) { return !entry.shard; });
  return tensors;
}

std::vector<NamedTensor> without_shards(std::vector<NamedTensor> tensors) {
  std::erase_if(tensors, [](const NamedTensor& entry) { return entry.shard.has_value(); });
  return tensors;
}

Shard shard_of(const TensorSpec& spec) {
  if (spec.shard) return *spec.shard;
  return {spec.sizes, {std::vector<int64_t>(spec.sizes.size()), spec.sizes}};
}

at::Tensor box_of(const at::Tensor& whole, const std::optional<Shard>& shard) {
  if (!shard) return whole;
  at::Tensor box = is_flattened(*shard) ? whole.flatten() : whole;
  for (size_t i = 0; i < shard->box.sizes.size(); ++i) {
    box = box.narrow(static_cast<int64_t>(i), shard->box.offsets[i], shard->box.sizes[i]);
  }
  return box;
}

std::optional<ByteRange> stretch_of(const Shard& shard, size_t element_bytes) {
  const auto strides = row_major_strides(shard.global_sizes).value();
  if (!is_row_major(shard.box.sizes, strides)) return std::nullopt;
  size_t begin = 0;
  size_t elements = 1;
  for (size_t i = 0; i < strides.size(); ++i) {
    begin += static_cast<size_t>(shard.box.offsets[i] * strides[i]);
    elements *= static_cast<size_t>(shard.box.sizes[i]);
  }
  return ByteRange{begin * element_bytes, (begin + elements) * element_bytes};
}

}  // namespace fakescore::detail
