#include "fill/match_keys.hpp"

#include <algorithm>
#include <map>
#include <sstream>
#include <string_view>

#include "error/join.hpp"
#include "fakescore/error.hpp"
#include "tensor/byte_ranges.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kPhase = "plan";

/// How many bits the magnitude of an integer of this dtype has.
size_t magnitude_bits(at::ScalarType dtype) {
  if (dtype == at::kBool) return 1;
  return c10::elementSize(dtype) * 8 - (c10::isSignedType(dtype) ? 1 : 0);
}

bool integers_fit(at::ScalarType from, at::ScalarType to) {
  const bool signs_fit =
      from == at::kBool || !c10::isSignedType(from) || (to != at::kBool && c10::isSignedType(to));
  return signs_fit && magnitude_bits(from) <= magnitude_bits(to);
}

bool loses_the_number(at::ScalarType from, at::ScalarType to) {
  if (at::isComplexType(from)) return !at::isComplexType(to);
  if (at::isFloatingType(from)) return !at::isFloatingType(to) && !at::isComplexType(to);
  return at::isIntegralType(to, /*includeBool=*/true) && !integers_fit(from, to);
}

/// torch.nn.Module.get_extra_state's place in a state dict: settings of kernels, for the most part.
bool is_extra_state(const std::string& name) {
  constexpr std::string_view kKey = "_extra_state";
  return name == kKey || name.ends_with("." + std::string(kKey));
}

/// What a save leaves in the place of a parameter that other ranks hold.
void check_is_no_placeholder(const TensorSpec& spec, const TeacherTensor& tensor,
                             const std::string& subject) {
  const auto& sizes = tensor.sizes;
  const bool is_empty = std::find(sizes.begin(), sizes.end(), 0) != sizes.end();
  if (!is_empty || element_count(spec) == 0) return;
  std::ostringstream text;
  text << "has no elements in the teacher (shape " << c10::IntArrayRef(sizes) << "), "
       << c10::IntArrayRef(spec.sizes) << " in the module: a placeholder, as saving one rank's "
       << "share of a model leaves it (DeepSpeed ZeRO-3, FSDP)";
  throw TeacherError(subject, text.str(),
                     "gather the weights before saving: DeepSpeed's zero_to_fp32.py or "
                     "stage3_gather_16bit_weights_on_model_save, FSDP's full state dict");
}

/// A scalar fills a vector of one element, and the other way round: FSDP2 takes no 0-dim parameter.
bool same_shape(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  const auto is_scalar = [](const std::vector<int64_t>& sizes) {
    return sizes.empty() || (sizes.size() == 1 && sizes.front() == 1);
  };
  return a == b || (is_scalar(a) && is_scalar(b));
}

void check_fits(const TensorSpec& spec, const TeacherTensor& tensor) {
  std::string subject = tensor.file.empty() ? spec.name : tensor.file + ", tensor " + spec.name;
  if (!tensor.stored_name.empty()) subject += " (stored as " + tensor.stored_name + ")";
  check_is_no_placeholder(spec, tensor, subject);
  if (!same_shape(tensor.sizes, spec.sizes)) {
    std::ostringstream text;
    text << "has shape " << c10::IntArrayRef(tensor.sizes) << " in the teacher, "
         << c10::IntArrayRef(spec.sizes) << " in the module";
    throw TeacherError(subject, text.str(),
                       "build the module from the teacher's own configuration");
  }
  if (loses_the_number(tensor.dtype, spec.dtype)) {
    throw TeacherError(subject,
                       std::string("is ") + c10::toString(tensor.dtype) + " in the teacher, " +
                           c10::toString(spec.dtype) +
                           " in the module: the cast would change values",
                       "build the module with a dtype that can hold it");
  }
}

class KeyMatcher {
 public:
  KeyMatcher(const Manifest& manifest, const std::vector<std::vector<ByteRange>>& occupied,
             const std::vector<TeacherTensor>& teacher)
      : manifest_(manifest),
        occupied_(occupied),
        teacher_(teacher),
        has_key_(manifest.specs().size()) {
    for (int64_t group = 0; group < manifest.alias_groups(); ++group) {
      groups_.push_back({group, FillMode::kReplay, at::kFloat, {}});
    }
  }

  MatchedKeys match_all() {
    match();
    for (GroupPlan& group : groups_) decide(group);
    find_missing();
    order();
    return {{std::move(groups_)}, std::move(keys_)};
  }

 private:
  void match() {
    std::map<std::string, size_t> specs;
    for (size_t i = 0; i < manifest_.specs().size(); ++i) {
      const TensorKind kind = manifest_.specs()[i].kind;
      if (kind == TensorKind::kParameter || kind == TensorKind::kBuffer) {
        specs.emplace(manifest_.specs()[i].name, i);
      }
    }
    for (size_t i = 0; i < teacher_.size(); ++i) {
      const auto found = specs.find(teacher_[i].name);
      if (found == specs.end()) {
        const std::string& name = teacher_[i].name;
        (is_extra_state(name) ? keys_.skipped : keys_.unexpected).push_back(name);
        continue;
      }
      const TensorSpec& spec = manifest_.specs()[found->second];
      check_fits(spec, teacher_[i]);
      if (spec.dtype != teacher_[i].dtype) {
        keys_.cast.push_back({spec.name, teacher_[i].dtype, spec.dtype});
      }
      groups_[static_cast<size_t>(spec.alias_group)].fills.push_back({found->second, i});
      has_key_[found->second] = true;
    }
  }

  std::vector<ByteRange> filled_bytes(const GroupPlan& group) const {
    std::vector<ByteRange> ranges;
    for (const auto& fill : group.fills) {
      const auto bytes = occupied_bytes(manifest_.specs()[fill.spec]);
      ranges.insert(ranges.end(), bytes.begin(), bytes.end());
    }
    return merge(std::move(ranges));
  }

  void decide(GroupPlan& group) {
    const auto& occupied = occupied_[static_cast<size_t>(group.group)];
    const auto filled = filled_bytes(group);
    filled_.push_back(filled);
    group.mode = covers(filled, occupied) ? FillMode::kAssemble : FillMode::kReplay;
    if (group.mode == FillMode::kReplay) return;
    if (group.fills.empty()) return;  // a tensor without elements
    const TensorSpec& spec = manifest_.specs()[group.fills.front().spec];
    const bool one_view = std::all_of(
        group.fills.begin(), group.fills.end(),
        [&](const auto& fill) { return same_view(manifest_.specs()[fill.spec], spec); });
    if (!one_view || !is_contiguous(spec) || spec.conj || spec.neg) return;
    const at::ScalarType wire = teacher_[group.fills.front().teacher].dtype;
    if (wire == spec.dtype) {
      group.mode = FillMode::kInPlace;
    } else if (c10::elementSize(wire) < c10::elementSize(spec.dtype) &&
               spec.dtype == manifest_.first_of_group(group.group).dtype) {
      // Receivers cast to the dtype of the group's first tensor, which may be complex where this
      // one is a real view of it.
      group.mode = FillMode::kCast;
      group.wire = wire;
    }
  }

  /// An unregistered tensor beside a registered one in the same storage is a view of it, or the
  /// base that autograd keeps of a view: to the reader the registered name says it all. Manifests
  /// list registered tensors first.
  bool is_worth_naming(const TensorSpec& spec) const {
    return spec.kind != TensorKind::kUnregistered ||
           manifest_.first_of_group(spec.alias_group).kind == TensorKind::kUnregistered;
  }

  void find_missing() {
    for (size_t i = 0; i < manifest_.specs().size(); ++i) {
      if (has_key_[i]) continue;
      const TensorSpec& spec = manifest_.specs()[i];
      const auto& filled = filled_[static_cast<size_t>(spec.alias_group)];
      if (element_count(spec) > 0 && covers(filled, occupied_bytes(spec))) continue;
      if (element_count(spec) > 0 && is_worth_naming(spec)) keys_.replayed.push_back(spec.name);
      if (spec.kind == TensorKind::kParameter || spec.kind == TensorKind::kBuffer) {
        keys_.missing.push_back(spec.name);
      }
    }
  }

  /// The teacher's order makes the root read its files from front to back.
  void order() {
    std::stable_sort(groups_.begin(), groups_.end(), [](const GroupPlan& a, const GroupPlan& b) {
      if (a.fills.empty() || b.fills.empty()) return !a.fills.empty() && b.fills.empty();
      return a.fills.front().teacher < b.fills.front().teacher;
    });
  }

  const Manifest& manifest_;
  const std::vector<std::vector<ByteRange>>& occupied_;
  const std::vector<TeacherTensor>& teacher_;
  std::vector<std::vector<ByteRange>> filled_;
  std::vector<GroupPlan> groups_;
  std::vector<bool> has_key_;  ///< by spec: whether the teacher has its name
  KeyReport keys_;
};

}  // namespace

MatchedKeys match_keys(const Manifest& manifest,
                       const std::vector<std::vector<ByteRange>>& occupied,
                       const std::vector<TeacherTensor>& teacher,
                       const std::string& teacher_description, bool strict) {
  if (teacher.empty()) {
    throw TeacherError(
        teacher_description, "holds no tensor",
        "give the weights; of a module that FSDP or ZeRO-3 has split, a full state dict");
  }
  MatchedKeys matched = KeyMatcher(manifest, occupied, teacher).match_all();
  if (strict) {
    auto failure = strict_failure(matched.keys, teacher_description);
    if (failure) throw_error(std::move(*failure));
  }
  return matched;
}

std::optional<ErrorInfo> strict_failure(const KeyReport& keys,
                                        const std::string& teacher_description) {
  if (keys.missing.empty() && keys.unexpected.empty()) return std::nullopt;
  std::ostringstream text;
  text << "its keys do not match the module's:";
  if (!keys.missing.empty()) {
    text << ' ' << keys.missing.size() << " missing (" << join_some(keys.missing) << ')';
  }
  if (!keys.unexpected.empty()) {
    text << ' ' << keys.unexpected.size() << " unexpected (" << join_some(keys.unexpected) << ')';
  }
  return ErrorInfo{
      ErrorCode::kTeacher,
      -1,
      kPhase,
      teacher_description,
      text.str(),
      "use the teacher's own configuration, or set strict = false (--no-strict) to go on "
      "without them"};
}

}  // namespace fakescore::detail
