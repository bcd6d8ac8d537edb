#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fakescore/core/error.hpp"
#include "fakescore/core/manifest.hpp"
#include "fakescore/core/teacher_source.hpp"
#include "fakescore/factory/fake_score_meta.hpp"
#include "sync/bucket_plan.hpp"

namespace fakescore::detail {

/// How one alias group gets its values.
enum class FillMode : int {
  kInPlace = 0,   ///< the teacher's bytes are the storage's bytes
  kCast = 1,      ///< the teacher's elements, narrower than the module's, are cast on arrival
  kAssemble = 2,  ///< the reading rank first copies teacher tensors into its storage
  kReplay = 3,    ///< some bytes come from no teacher tensor: replayed on the root first
};

/// One alias group; `fills` are the teacher tensors that go into it.
struct GroupPlan {
  struct Fill {
    size_t spec = 0;     ///< index into the manifest
    size_t teacher = 0;  ///< index into the teacher's tensors
  };
  int64_t group = 0;
  FillMode mode = FillMode::kInPlace;
  at::ScalarType wire = at::kFloat;  ///< of kCast
  std::vector<Fill> fills;
};

/// What every rank needs to know to move a teacher into a module.
struct LoadPlan {
  std::vector<GroupPlan> groups;  ///< in the order in which they travel: the teacher's own
  std::vector<std::string> missing;
  std::vector<std::string> unexpected;
  std::vector<std::string> replayed;
  std::vector<CastKey> cast;
  TeacherChoice choice;  ///< of whoever opened the teacher

  /// For the other ranks.
  std::string serialize() const;
  static LoadPlan deserialize(const std::string& bytes);
};

/// Matches a teacher's tensors with a module's. Pure. Throws TeacherError for a teacher without
/// tensors, and naming the tensor for a shape that differs, a cast that would lose the number
/// (complex to real, floating to integer, an integer to one that cannot hold all its values), and,
/// where `strict`, for missing and unexpected keys. `teacher_description` names the teacher in
/// messages.
LoadPlan make_load_plan(const Manifest& manifest, const std::vector<TeacherTensor>& teacher,
                        const std::string& teacher_description, bool strict);

/// The TeacherError of a strict plan with missing or unexpected keys; nullopt where there are none.
std::optional<ErrorInfo> strict_failure(const LoadPlan& plan,
                                        const std::string& teacher_description);

/// Which bytes of a group's storage travel, and in which dtype. `occupied` is the manifest's, by
/// group.
TransferLayout transfer_layout(const GroupPlan& group, const Manifest& manifest,
                               const std::vector<std::vector<ByteRange>>& occupied);

/// Whether two entries of one alias group are the same elements in the same order and reading.
bool same_view(const TensorSpec& a, const TensorSpec& b);

}  // namespace fakescore::detail
