#include "fakescore/core/manifest.hpp"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>

#include "fakescore/core/error.hpp"

namespace fakescore {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 3;

TensorSpec make_spec(const ModuleTensor& entry) {
  const at::Tensor& tensor = entry.tensor;
  if (!tensor.defined() || !tensor.has_storage()) {
    throw_error({ErrorCode::kBuild, -1, "", entry.name,
                 "is undefined or has no storage (sparse and nested tensors have none)",
                 "register dense tensors"});
  }
  return {entry.name,
          entry.kind,
          tensor.scalar_type(),
          tensor.sizes().vec(),
          tensor.strides().vec(),
          tensor.storage_offset(),
          0,
          tensor.is_conj(),
          tensor.is_neg()};
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

Manifest::Manifest(const std::vector<ModuleTensor>& tensors) {
  std::unordered_map<const c10::StorageImpl*, int64_t> groups;
  for (const ModuleTensor& entry : tensors) {
    TensorSpec spec = make_spec(entry);
    const auto* storage = entry.tensor.storage().unsafeGetStorageImpl();
    spec.alias_group = groups.try_emplace(storage, alias_groups()).first->second;
    add(std::move(spec));
  }
}

void Manifest::add(TensorSpec spec) {
  if (spec.alias_group < 0 || spec.alias_group > alias_groups()) {
    throw_error({ErrorCode::kMismatch, -1, "", "manifest",
                 "entry " + spec.name + " has alias group " + std::to_string(spec.alias_group) +
                     ", but the next new one is " + std::to_string(alias_groups()),
                 "run the same build of fakescore on every rank"});
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

std::string Manifest::serialize() const {
  json entries = json::array();
  for (const TensorSpec& spec : specs_) {
    entries.push_back({spec.name, static_cast<int>(spec.kind), static_cast<int>(spec.dtype),
                       spec.sizes, spec.strides, spec.storage_offset, spec.alias_group, spec.conj,
                       spec.neg});
  }
  std::string bytes;
  json::to_msgpack(json::array({kFormatVersion, std::move(entries)}), bytes);
  return bytes;
}

Manifest Manifest::deserialize(const std::string& bytes) {
  const json content = json::from_msgpack(bytes);
  if (content.at(0).get<int>() != kFormatVersion) {
    throw_error({ErrorCode::kMismatch, -1, "", "manifest",
                 "has format version " + content.at(0).dump() + ", this rank reads " +
                     std::to_string(kFormatVersion),
                 "run the same build of fakescore on every rank"});
  }
  Manifest manifest;
  for (const json& entry : content.at(1)) {
    manifest.add({entry.at(0).get<std::string>(), static_cast<TensorKind>(entry.at(1).get<int>()),
                  static_cast<at::ScalarType>(entry.at(2).get<int>()),
                  entry.at(3).get<std::vector<int64_t>>(), entry.at(4).get<std::vector<int64_t>>(),
                  entry.at(5).get<int64_t>(), entry.at(6).get<int64_t>(), entry.at(7).get<bool>(),
                  entry.at(8).get<bool>()});
  }
  return manifest;
}

Digest Manifest::digest() const {
  const std::string bytes = serialize();
  return digest_bytes(bytes.data(), bytes.size());
}

std::optional<size_t> Manifest::first_difference(const Manifest& a, const Manifest& b) {
  const size_t common = std::min(a.specs_.size(), b.specs_.size());
  for (size_t i = 0; i < common; ++i) {
    if (a.specs_[i] != b.specs_[i]) return i;
  }
  if (a.specs_.size() != b.specs_.size()) return common;
  return std::nullopt;
}

std::string Manifest::describe(size_t index) const {
  if (index >= specs_.size()) return "no further tensor";
  const TensorSpec& spec = specs_[index];
  std::ostringstream text;
  text << to_string(spec.kind) << ' ' << spec.name << ' ' << c10::toString(spec.dtype)
       << c10::IntArrayRef(spec.sizes);
  if (!is_contiguous(spec)) text << " strides " << c10::IntArrayRef(spec.strides);
  if (spec.conj) text << " conjugated";
  if (spec.neg) text << " negated";
  const std::string& first = first_of_group(spec.alias_group).name;
  if (first != spec.name) text << " sharing storage with " << first;
  return text.str();
}

bool is_contiguous(const TensorSpec& spec) {
  int64_t expected = 1;
  for (size_t i = spec.sizes.size(); i-- > 0;) {
    if (spec.sizes[i] == 0) return true;
    if (spec.sizes[i] != 1 && spec.strides[i] != expected) return false;
    expected *= spec.sizes[i];
  }
  return true;
}

int64_t element_count(const TensorSpec& spec) {
  int64_t count = 1;
  for (const int64_t size : spec.sizes) count *= size;
  return count;
}

}  // namespace fakescore
