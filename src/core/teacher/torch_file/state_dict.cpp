#include "core/teacher/torch_file/state_dict.hpp"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/teacher/file_text.hpp"
#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kTop = ".";
constexpr size_t kMaxCandidates = 20;
/// A dict that is shared is walked under each of its names, so that a small file could ask for any
/// number of them: every entry that is looked at counts as much as its name and this.
constexpr size_t kEntryBytes = 64;
/// Of a tensor's sizes and strides, in each of the places that hold them.
constexpr size_t kDimensionBytes = 48;
constexpr size_t kMaxListBytes = 256 << 20;
constexpr size_t kMaxTensors = 1 << 20;

/// The pairs of what has names below it: a dict, an OrderedDict and its kin, a TorchScript module.
const PicklePairs* pairs_of(const PickleValue& value) {
  if (const auto* dict = value.as<PickleDict>()) return dict->pairs.get();
  const auto* reduced = value.as<PickleReduced>();
  if (reduced == nullptr) return nullptr;
  const PickleObject& object = *reduced->object;
  if (object.callable.starts_with("collections.")) return &object.pairs;
  if (object.callable.starts_with("__torch__.") && object.state.as<PickleDict>() != nullptr) {
    return object.state.as<PickleDict>()->pairs.get();
  }
  return nullptr;
}

/// A key as a part of a name: a text, or a number in digits. Nullopt for others.
std::optional<std::string> name_of(const PickleValue& key) {
  if (const auto* text = key.as<std::string>()) return *text;
  if (const auto* number = key.as<int64_t>()) return std::to_string(*number);
  return std::nullopt;
}

/// What a rebuild makes, readable or not: whether a dict is a state dict does not depend on it.
bool is_tensor(const PickleValue& value) {
  const auto* reduced = value.as<PickleReduced>();
  return reduced != nullptr && (reduced->object->callable.starts_with("torch._utils._rebuild_") ||
                                reduced->object->callable.starts_with("torch._tensor._rebuild_"));
}

class StateDictLister {
 public:
  explicit StateDictLister(const TorchArchive& archive) : archive_(archive) {}

  std::vector<StateDictTensor> list(const std::string& key) {
    const PickleValue& top = archive_.object();
    if (pairs_of(top) == nullptr) fail("holds " + describe(top) + " and no state dict");
    if (key.empty()) {
      if (!archive_.is_torchscript()) check_is_state_dict(top);
      add("", top);
    } else if (key == kTop) {
      add("", top);
    } else {
      const PickleValue* found = find(top, key);
      if (found == nullptr) fail("has no dict under the key " + shown(key));
      add("", *found);
    }
    if (tensors_.empty()) {
      throw_teacher_error(archive_.file(), "",
                          "holds no tensor" + (key.empty() ? "" : " under " + shown(key)),
                          empty_remedy());
    }
    return std::move(tensors_);
  }

 private:
  void add(const std::string& prefix, const PickleValue& value) {
    for (const auto& [key, child] : *pairs_of(value)) {
      spend(kEntryBytes);
      const auto part = name_of(key);
      if (!part) continue;
      const std::string name = prefix + *part;
      spend(name.size());
      if (is_tensor(child)) {
        add_tensor(name, child);
      } else if (pairs_of(child) != nullptr) {
        add(name + ".", child);
      }
    }
  }

  void add_tensor(const std::string& name, const PickleValue& value) {
    if (!is_utf8(name)) throw_teacher_error(archive_.file(), shown(name), "its name is not UTF-8");
    if (!names_.insert(name).second) {
      throw_teacher_error(archive_.file(), shown(name), "is there twice",
                          "give the key of one of the dicts that hold it");
    }
    auto tensor = archive_.find(value, name);
    if (!tensor) return;
    spend(name.size() + kDimensionBytes * tensor->sizes.size());
    if (tensors_.size() == kMaxTensors) refuse_length();
    tensors_.push_back({name, std::move(*tensor)});
  }

  void spend(size_t bytes) {
    spent_ += bytes;
    if (spent_ > kMaxListBytes) refuse_length();
  }

  [[noreturn]] void refuse_length() {
    throw_teacher_error(archive_.file(), "", "lists more names than a model has: hostile");
  }

  /// Remembered, since a pickle may name one dict any number of times.
  bool holds_tensor(const PickleValue& value) {
    const PicklePairs* pairs = pairs_of(value);
    const auto [known, is_new] = holds_tensor_.try_emplace(pairs, false);
    if (is_new) {
      known->second = std::any_of(pairs->begin(), pairs->end(),
                                  [](const auto& pair) { return is_tensor(pair.second); });
    }
    return known->second;
  }

  /// Down the parts of the key, the longest first, since a part may hold dots itself.
  const PickleValue* find(const PickleValue& from, const std::string& key) {
    for (size_t length = key.size(); length != std::string::npos && length > 0;
         length = key.rfind('.', length - 1)) {
      const PickleValue* child = child_of(from, key.substr(0, length));
      if (child == nullptr || pairs_of(*child) == nullptr) continue;
      if (length == key.size()) return child;
      if (const PickleValue* found = find(*child, key.substr(length + 1))) return found;
    }
    return nullptr;
  }

  static const PickleValue* child_of(const PickleValue& value, const std::string& name) {
    for (const auto& [key, child] : *pairs_of(value)) {
      if (name_of(key) == name) return &child;
    }
    return nullptr;
  }

  void check_is_state_dict(const PickleValue& top) {
    collect_candidates(top, "");
    if (holds_tensor(top) && candidates_.empty()) return;
    if (candidates_.empty()) fail("holds no tensor in its dicts");
    fail("is no state dict itself: dicts in it hold tensors, " +
         std::to_string(candidates_.size()) + " of them");
  }

  /// The dicts below that hold tensors, each under the first of its names.
  void collect_candidates(const PickleValue& value, const std::string& prefix) {
    if (!seen_.insert(pairs_of(value)).second) return;
    for (const auto& [key, child] : *pairs_of(value)) {
      spend(kEntryBytes);
      const auto part = name_of(key);
      if (!part || pairs_of(child) == nullptr) continue;
      const std::string name = prefix + *part;
      spend(name.size());
      if (holds_tensor(child)) candidates_.push_back(name);
      collect_candidates(child, name + ".");
    }
  }

  [[noreturn]] void fail(const std::string& message) {
    if (candidates_.empty() && pairs_of(archive_.object()) != nullptr) {
      collect_candidates(archive_.object(), "");
    }
    std::string keys;
    for (size_t i = 0; i < std::min(candidates_.size(), kMaxCandidates); ++i) {
      keys += (i > 0 ? ", " : "") + shown(candidates_[i]);
    }
    if (candidates_.size() > kMaxCandidates) keys += ", ...";
    throw_teacher_error(archive_.file(), "", message,
                        keys.empty() ? "save a state dict: torch.save(model.state_dict(), path)"
                                     : "give one of these keys: " + keys +
                                           "; or . for all of it, under dotted names");
  }

  std::string empty_remedy() const {
    return archive_.is_torchscript()
               ? "a frozen TorchScript module has constants in place of weights: save it before "
                 "torch.jit.freeze"
               : "save a state dict: torch.save(model.state_dict(), path)";
  }

  static std::string describe(const PickleValue& value) {
    if (is_tensor(value)) return "a tensor";
    if (const auto* reduced = value.as<PickleReduced>()) return shown(reduced->object->callable);
    return value.as<PickleList>() != nullptr || value.as<PickleTuple>() != nullptr
               ? "a list"
               : "a plain value";
  }

  const TorchArchive& archive_;
  std::vector<StateDictTensor> tensors_;
  std::unordered_set<std::string> names_;
  size_t spent_ = 0;
  std::vector<std::string> candidates_;
  std::unordered_set<const void*> seen_;
  std::unordered_map<const void*, bool> holds_tensor_;
};

}  // namespace

std::vector<StateDictTensor> list_state_dict(const TorchArchive& archive, const std::string& key) {
  return StateDictLister(archive).list(key);
}

}  // namespace fakescore::detail
