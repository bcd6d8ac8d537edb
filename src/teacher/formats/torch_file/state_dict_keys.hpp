#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "teacher/formats/torch_file/torch_archive.hpp"

namespace fakescore::detail {

/// A key as a part of a name: a text, or an integer in digits. Nullopt for others.
std::optional<std::string> key_name(const PickleValue& key);

/// The dicts of an archive's object by their keys.
class StateDictKeys {
 public:
  explicit StateDictKeys(const TorchArchive& archive) : archive_(archive) {}

  /// The dict below `from` under `key`, whose parts may hold dots themselves; null where there is
  /// none. Throws TeacherError for a dict on the way in which the key could be another's as well.
  const PickleValue* find(const PickleValue& from, const std::string& key);

  /// What the last `find` met under the whole key that is no dict; null where there was nothing.
  const PickleValue* other_value() const noexcept { return other_value_; }

  /// Whether an entry of the dict is a tensor.
  bool holds_tensor(const PickleValue& dict);
  /// The dicts below the top that hold tensors.
  const std::vector<std::string>& candidates();

  /// Throws a TeacherError whose remedy lists the candidates.
  [[noreturn]] void fail(const std::string& message);

 private:
  const PickleValue* child(const PickleValue& dict, std::string_view name);
  void collect(const PickleValue& dict, const std::string& prefix);

  const TorchArchive& archive_;
  const PickleValue* other_value_ = nullptr;
  std::optional<std::vector<std::string>> candidates_;
  std::map<const PickleNode*, bool> holds_tensor_;
  std::set<const PickleNode*> collected_;
};

}  // namespace fakescore::detail
