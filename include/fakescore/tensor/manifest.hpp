#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore {

/// Everything about one tensor but its values.
struct TensorSpec {
  std::string name;
  TensorKind kind = TensorKind::kParameter;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;     ///< in elements
  int64_t storage_offset = 0;       ///< in elements
  int64_t alias_group = 0;          ///< tensors of one group share one storage
  bool conj = false;                ///< a lazy conjugate of the storage's values
  bool neg = false;                 ///< a lazy negative of them
  std::optional<Shard> shard = {};  ///< where it is this rank's part of a larger tensor
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

/// A description of a module's tensors, in order, and of which of them share storage. Pure data: it
/// holds no tensors, can be compared between ranks, and is the same for a meta module and a real
/// one.
class FAKESCORE_API Manifest {
 public:
  Manifest() = default;
  /// Numbers the alias groups in order of first appearance. Throws BuildError naming a tensor that
  /// has no storage (sparse, for example).
  explicit Manifest(const std::vector<NamedTensor>& tensors);

  /// What of an entry is the same on every rank: of a shard the global sizes, not what this rank
  /// holds of it.
  static TensorSpec agreed(TensorSpec spec);

  /// The same with whole tensors in the place of shards: row-major, alone in their storages but for
  /// other names of themselves.
  Manifest whole() const;

  const std::vector<TensorSpec>& specs() const noexcept { return specs_; }
  int64_t alias_groups() const noexcept { return static_cast<int64_t>(first_of_group_.size()); }
  /// The first tensor of an alias group, and its index.
  const TensorSpec& first_of_group(int64_t group) const { return specs_.at(index_of_first(group)); }
  size_t index_of_first(int64_t group) const {
    return first_of_group_.at(static_cast<size_t>(group));
  }
  /// Bytes of the storage that all tensors of each group need.
  std::vector<size_t> storage_bytes() const;

  /// A versioned byte string and back; the form is internal to one version of the library.
  std::string serialize() const;
  static Manifest deserialize(const std::string& bytes);
  /// Of what is the same on every rank.
  Digest digest() const;

  /// Index of the first entry in which two ranks' manifests differ that should be the same; nullopt
  /// if there is none. If one only
  /// has more entries, the index is the shorter one's size.
  static std::optional<size_t> first_difference(const Manifest& a, const Manifest& b);
  /// Entry `index` in words, or "no further tensor".
  std::string describe(size_t index) const;

 private:
  /// Appends an entry, which may begin a new group. Throws MismatchError if a new group's number is
  /// not the next one.
  void add(TensorSpec spec);

  std::vector<TensorSpec> specs_;
  std::vector<size_t> first_of_group_;  ///< index into specs_
};

/// Whether elements of a tensor lie in row-major order without gaps.
FAKESCORE_API bool is_contiguous(const TensorSpec& spec);
FAKESCORE_API int64_t element_count(const TensorSpec& spec);

}  // namespace fakescore
