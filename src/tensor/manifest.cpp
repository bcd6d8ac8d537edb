#include "fakescore/tensor/manifest.hpp"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>

#include "fakescore/error.hpp"
#include "tensor/boxes.hpp"
#include "tensor/row_major.hpp"
#include "tensor/shard_wire.hpp"

namespace fakescore {

auto wire_fields(TensorSpec& spec) {
  return std::tie(spec.name, spec.kind, spec.dtype, spec.sizes, spec.strides, spec.storage_offset,
                  spec.alias_group, spec.conj, spec.neg, spec.shard);
}

namespace {

TensorSpec make_spec(const NamedTensor& entry) {
  const at::Tensor& tensor = entry.tensor;
  if (!tensor.defined() || !tensor.has_storage()) {
    throw BuildError(entry.name,
                     "is undefined or has no storage (sparse and nested tensors have none)",
                     "register dense tensors");
  }
  return {entry.name,
          entry.kind,
          tensor.scalar_type(),
          tensor.sizes().vec(),
          tensor.strides().vec(),
          tensor.storage_offset(),
          0,
          tensor.is_conj(),
          tensor.is_neg(),
          entry.shard};
}

/// Elements between the first and one past the last that a tensor reaches.
int64_t extent(const TensorSpec& spec) {
  int64_t last = 0;
  for (size_t i = 0; i < spec.sizes.size(); ++i) {
    if (spec.sizes[i] == 0) return 0;
    last += (spec.sizes[i] - 1) * spec.strides[i];
  }
  return last + 1;
}

}  // namespace

Manifest::Manifest(const std::vector<NamedTensor>& tensors) {
  std::unordered_map<const c10::StorageImpl*, int64_t> groups;
  for (const NamedTensor& entry : tensors) {
    TensorSpec spec = make_spec(entry);
    const auto* storage = entry.tensor.storage().unsafeGetStorageImpl();
    spec.alias_group = groups.try_emplace(storage, alias_groups()).first->second;
    add(std::move(spec));
  }
}

void Manifest::add(TensorSpec spec) {
  if (spec.alias_group < 0 || spec.alias_group > alias_groups()) {
    throw MismatchError("manifest",
                        "entry " + spec.name + " has alias group " +
                            std::to_string(spec.alias_group) + ", but the next new one is " +
                            std::to_string(alias_groups()),
                        "run the same build of fakescore on every rank");
  }
  if (spec.alias_group == alias_groups()) first_of_group_.push_back(specs_.size());
  specs_.push_back(std::move(spec));
}

std::vector<size_t> Manifest::storage_bytes() const {
  std::vector<size_t> bytes(first_of_group_.size(), 0);
  for (const TensorSpec& spec : specs_) {
    const int64_t elements = extent(spec);
    if (elements == 0) continue;
    size_t& group = bytes[static_cast<size_t>(spec.alias_group)];
    group = std::max(
        group, static_cast<size_t>(spec.storage_offset + elements) * c10::elementSize(spec.dtype));
  }
  return bytes;
}

TensorSpec Manifest::agreed(TensorSpec spec) {
  if (!spec.shard) return spec;
  spec.sizes = detail::whole_sizes(*spec.shard);
  spec.strides.clear();
  spec.storage_offset = 0;
  spec.shard->box = {};
  return spec;
}

Manifest Manifest::whole() const {
  Manifest manifest(*this);
  for (TensorSpec& spec : manifest.specs_) {
    if (!spec.shard) continue;
    spec.sizes = detail::whole_sizes(*spec.shard);
    spec.strides = detail::row_major_strides(spec.sizes).value();
    spec.storage_offset = 0;
    spec.shard.reset();
  }
  return manifest;
}

std::string Manifest::serialize() const { return detail::to_wire(specs_); }

Manifest Manifest::deserialize(const std::string& bytes) {
  auto [specs] = detail::from_wire<std::vector<TensorSpec>>(bytes, "manifest");
  Manifest manifest;
  for (TensorSpec& spec : specs) manifest.add(std::move(spec));
  return manifest;
}

Digest Manifest::digest() const {
  const auto is_shard = [](const TensorSpec& spec) { return spec.shard.has_value(); };
  std::string bytes;
  if (std::none_of(specs_.begin(), specs_.end(), is_shard)) {
    bytes = detail::to_wire(specs_);
  } else {
    std::vector<TensorSpec> specs;
    specs.reserve(specs_.size());
    for (const TensorSpec& spec : specs_) specs.push_back(agreed(spec));
    bytes = detail::to_wire(specs);
  }
  return digest_bytes(bytes.data(), bytes.size());
}

std::optional<size_t> Manifest::first_difference(const Manifest& a, const Manifest& b) {
  const size_t common = std::min(a.specs_.size(), b.specs_.size());
  for (size_t i = 0; i < common; ++i) {
    if (agreed(a.specs_[i]) != agreed(b.specs_[i])) return i;
  }
  if (a.specs_.size() != b.specs_.size()) return common;
  return std::nullopt;
}

std::string Manifest::describe(size_t index) const {
  if (index >= specs_.size()) return "no further tensor";
  const TensorSpec& spec = specs_[index];
  std::ostringstream text;
  text << to_string(spec.kind) << ' ' << spec.name << ' ' << c10::toString(spec.dtype)
       << c10::IntArrayRef(spec.shard ? detail::whole_sizes(*spec.shard) : spec.sizes);
  if (spec.shard) text << (detail::is_flattened(*spec.shard) ? " in flat shards" : " in shards");
  if (!spec.shard && !is_contiguous(spec)) text << " strides " << c10::IntArrayRef(spec.strides);
  if (spec.conj) text << " conjugated";
  if (spec.neg) text << " negated";
  const std::string& first = first_of_group(spec.alias_group).name;
  if (first != spec.name) text << " sharing storage with " << first;
  return text.str();
}

bool is_contiguous(const TensorSpec& spec) {
  return detail::is_row_major(spec.sizes, spec.strides);
}

int64_t element_count(const TensorSpec& spec) {
  int64_t count = 1;
  for (const int64_t size : spec.sizes) count *= size;
  return count;
}

}  // namespace fakescore
