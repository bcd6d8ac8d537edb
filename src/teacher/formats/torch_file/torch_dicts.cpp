#include "teacher/formats/torch_file/torch_dicts.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/pickle/pickle_children.hpp"
#include "teacher/formats/torch_file/torch_globals.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kDictHolds = "holds more entries in its dicts than its pickle describes";
constexpr uint64_t kDictBytes = 128;
/// Also of dicts that the pickle's root does not lead to, whose nesting nobody has looked at.
constexpr size_t kMaxDictDepth = 1000;

struct DictLevel {
  explicit DictLevel(size_t& depth) : depth_(depth) { ++depth_; }
  ~DictLevel() { --depth_; }
  DictLevel(const DictLevel&) = delete;
  DictLevel& operator=(const DictLevel&) = delete;

 private:
  size_t& depth_;
};

/// A text or an integer, which others may equal; floats and bools count as the integers they equal.
using DictKey = std::pair<std::optional<int64_t>, std::string_view>;

std::optional<DictKey> dict_key(const PickleValue& key) {
  if (const auto text = key.text()) return DictKey{std::nullopt, *text};
  if (const auto integer = key.integer()) return DictKey{*integer, {}};
  if (const auto boolean = key.boolean()) return DictKey{*boolean ? 1 : 0, {}};
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  const auto real = key.real();
  if (!real || !(*real >= -kLimit && *real < kLimit)) return std::nullopt;
  const auto integer = static_cast<int64_t>(*real);
  if (static_cast<double>(integer) != *real) return std::nullopt;
  return DictKey{integer, {}};
}

bool is_odd_key(const PickleValue& key) { return key.object() != nullptr || key.is_long_integer(); }

const PicklePairs* module_pairs(const PickleObject& object) {
  return object.callable.starts_with("__torch__.") ? object.state.dict() : nullptr;
}

/// The two items of a key and its value, as OrderedDict takes them.
const PickleItems* pair_items(const PickleValue& pair) {
  const PickleItems* items = pair.tuple() != nullptr ? pair.tuple() : pair.list();
  return items != nullptr && items->size() == 2 ? items : nullptr;
}

}  // namespace

bool TorchDicts::is_dict(const PickleValue& value) {
  if (value.dict() != nullptr) return true;
  const PickleObject* object = value.object();
  return object != nullptr && !object->is_inert &&
         (is_dict_global(object->callable) || module_pairs(*object) != nullptr);
}

const TorchDictEntries& TorchDicts::entries(const PickleValue& dict) {
  const auto found = known_.find(pickle_node(dict));
  if (found != known_.end()) return found->second;
  budget_.charge_memory(kDictBytes, kDictHolds);
  const DictLevel level(depth_);
  if (depth_ > kMaxDictDepth) {
    throw_teacher_error(budget_.file(), "",
                        "makes dicts of dicts deeper than " + std::to_string(kMaxDictDepth),
                        "save it again: torch.save(dict(state_dict), path)");
  }
  return known_.emplace(pickle_node(dict), read(dict)).first->second;
}

TorchDictEntries TorchDicts::read(const PickleValue& dict) {
  TorchDictEntries result;
  if (const PicklePairs* pairs = dict.dict()) {
    add_pairs(*pairs, result);
  } else if (const PicklePairs* attributes = module_pairs(*dict.object())) {
    if (pickle_node(dict.object()->state)->changed_at > dict.object()->changed_at) {
      refuse_arguments(*dict.object());
    }
    add_pairs(*attributes, result);
  } else {
    add_arguments(*dict.object(), result);
    add_pairs(dict.object()->pairs, result);
  }
  merge_keys(result);
  return result;
}

void TorchDicts::add_pairs(const PicklePairs& pairs, TorchDictEntries& result) {
  budget_.charge_memory(pairs.size() * sizeof(TorchDictEntry), kDictHolds);
  result.entries.reserve(result.entries.size() + pairs.size());
  for (const auto& [key, value] : pairs) result.entries.push_back({&key, &value});
}

void TorchDicts::add_arguments(const PickleObject& object, TorchDictEntries& result) {
  const size_t source = object.callable.ends_with(".defaultdict") ? 1 : 0;
  const size_t given = object.arguments.size();
  if (!object.items.empty() || given > source + 1 || (object.is_new && given > 0)) {
    refuse_arguments(object);
  }
  if (given == source + 1) add_source(object.arguments[source], object, result);
}

void TorchDicts::add_source(const PickleValue& source, const PickleObject& object,
                            TorchDictEntries& result) {
  const PickleNode* node = pickle_node(source);
  if (node == nullptr || node->changed_at > object.made_at) refuse_arguments(object);
  if (is_dict(source)) {
    const auto& items = entries(source);
    budget_.charge_memory(items.entries.size() * sizeof(TorchDictEntry), kDictHolds);
    result.entries = items.entries;
    return;
  }
  const PickleItems* items = source.tuple() != nullptr ? source.tuple() : source.list();
  if (items == nullptr || object.callable.ends_with(".Counter")) refuse_arguments(object);
  budget_.charge_memory(items->size() * sizeof(TorchDictEntry), kDictHolds);
  for (const PickleValue& item : *items) {
    const PickleItems* pair = pair_items(item);
    if (pair == nullptr || pickle_node(item)->changed_at > object.made_at) {
      refuse_arguments(object);
    }
    result.entries.push_back({&(*pair)[0], &(*pair)[1]});
  }
}

void TorchDicts::merge_keys(TorchDictEntries& result) {
  struct Place {
    DictKey key;
    size_t index;
  };
  auto& entries = result.entries;
  budget_.charge_memory(entries.size() * sizeof(Place), kDictHolds);
  std::vector<Place> places;
  places.reserve(entries.size());
  const uint64_t comparisons = 2 * static_cast<uint64_t>(std::bit_width(entries.size()));
  for (size_t i = 0; i < entries.size(); ++i) {
    const PickleValue& key = *entries[i].key;
    if (result.odd_key == nullptr && is_odd_key(key)) result.odd_key = &key;
    const auto known = dict_key(key);
    if (!known) continue;
    budget_.charge_work(comparisons * (1 + known->second.size() / 64), kDictHolds);
    places.push_back({*known, i});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::tie(a.key, a.index) < std::tie(b.key, b.index);
  });
  size_t repeated = 0;
  for (size_t i = 1, first = 0; i < places.size(); ++i) {
    if (places[i].key != places[first].key) {
      first = i;
      continue;
    }
    entries[places[first].index].value = entries[places[i].index].value;
    entries[places[i].index].key = nullptr;
    ++repeated;
  }
  if (repeated > 0) {
    std::erase_if(entries, [](const TorchDictEntry& entry) { return entry.key == nullptr; });
  }
}

void TorchDicts::refuse_arguments(const PickleObject& object) const {
  throw_teacher_error(
      budget_.file(), "",
      "makes a " + shown(object.callable) + " of arguments that torch.save does not write",
      "save it again: torch.save(dict(state_dict), path)");
}

}  // namespace fakescore::detail
