#include "teacher/formats/torch_file/state_dict_keys.hpp"

#include <algorithm>

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/pickle/pickle_children.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kNestsDicts = "nests more dicts than its pickle describes";
constexpr size_t kMaxCandidates = 20;
constexpr uint64_t kSeenBytes = 48;

}  // namespace

std::optional<std::string> key_name(const PickleValue& key) {
  if (const auto text = key.text()) return std::string(*text);
  if (const auto number = key.integer()) return std::to_string(*number);
  return std::nullopt;
}

/// The longest part first, since a part may hold dots itself.
const PickleValue* StateDictKeys::find(const PickleValue& from, const std::string& key) {
  for (size_t length = key.size(); length != std::string::npos && length > 0;
       length = key.rfind('.', length - 1)) {
    const PickleValue* found = child(from, std::string_view(key).substr(0, length));
    if (found != nullptr && length == key.size()) other_value_ = found;
    if (found == nullptr || !TorchDicts::is_dict(*found)) continue;
    if (length == key.size()) return found;
    if (const PickleValue* below = find(*found, key.substr(length + 1))) return below;
  }
  return nullptr;
}

const PickleValue* StateDictKeys::child(const PickleValue& dict, std::string_view name) {
  const TorchDictEntries& entries = archive_.dicts().entries(dict);
  const PickleObject* odd = entries.odd_key == nullptr ? nullptr : entries.odd_key->object();
  if (odd != nullptr && !odd->is_inert) {
    throw_teacher_error(
        archive_.file(), "",
        "has a key beside " + shown(name) + " that may be the same: " + shown(odd->callable),
        "save a dict of names: torch.save(model.state_dict(), path)");
  }
  archive_.budget().charge_work(entries.entries.size(), kNestsDicts);
  for (const auto& [key, value] : entries.entries) {
    if (key->text() == name || (key->integer() && key_name(*key) == name)) return value;
  }
  return nullptr;
}

bool StateDictKeys::holds_tensor(const PickleValue& dict) {
  const auto [known, is_new] = holds_tensor_.try_emplace(pickle_node(dict), false);
  if (!is_new) return known->second;
  const auto& entries = archive_.dicts().entries(dict).entries;
  archive_.budget().charge_memory(kSeenBytes, kNestsDicts);
  archive_.budget().charge_work(entries.size(), kNestsDicts);
  known->second = std::any_of(entries.begin(), entries.end(), [](const auto& entry) {
    return TorchTensors::is_tensor(*entry.value);
  });
  return known->second;
}

const std::vector<std::string>& StateDictKeys::candidates() {
  if (!candidates_) {
    candidates_.emplace();
    if (TorchDicts::is_dict(archive_.object())) collect(archive_.object(), "");
  }
  return *candidates_;
}

/// What lies below a dict is looked at under the first of its names alone.
void StateDictKeys::collect(const PickleValue& dict, const std::string& prefix) {
  if (!collected_.insert(pickle_node(dict)).second) return;
  archive_.budget().charge_memory(kSeenBytes, kNestsDicts);
  for (const auto& [key, child] : archive_.dicts().entries(dict).entries) {
    archive_.budget().charge_work(4, kNestsDicts);
    const auto part = key_name(*key);
    if (!part || !TorchDicts::is_dict(*child)) continue;
    archive_.budget().charge_text(prefix.size() + part->size(), kNestsDicts);
    const std::string name = prefix + *part;
    if (holds_tensor(*child)) {
      archive_.budget().charge_memory(kSeenBytes + name.size(), kNestsDicts);
      candidates_->push_back(name);
    }
    collect(*child, name + ".");
  }
}

void StateDictKeys::fail(const std::string& message) {
  const auto& names = candidates();
  std::string keys;
  for (size_t i = 0; i < std::min(names.size(), kMaxCandidates); ++i) {
    keys += (i > 0 ? ", " : "") + shown(names[i]);
  }
  if (names.size() > kMaxCandidates) keys += ", ...";
  throw_teacher_error(archive_.file(), "", message,
                      keys.empty() ? "save a state dict: torch.save(model.state_dict(), path)"
                                   : "give one of these keys: " + keys +
                                         "; or . for all of it, under dotted names");
}

}  // namespace fakescore::detail
