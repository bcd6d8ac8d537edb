#pragma once

#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// The container that a value is, null for a plain value.
inline const PickleNode* pickle_node(const PickleValue& value) {
  if (const auto* sequence = value.sequence_node()) return sequence;
  if (const auto* dict = value.dict_node()) return dict;
  return value.object_node();
}

/// How many values lie in this one.
inline size_t count_children(const PickleValue& value) {
  if (const auto* sequence = value.sequence_node()) return sequence->items.size();
  if (const auto* dict = value.dict_node()) return 2 * dict->pairs.size();
  const auto* object = value.object_node();
  if (object == nullptr) return 0;
  return 1 + object->arguments.size() + object->items.size() + 2 * object->pairs.size();
}

/// One of them, by a number below count_children.
inline const PickleValue& child_at(const PickleValue& value, size_t index) {
  const auto in_pairs = [](const PicklePairs& pairs, size_t place) -> const PickleValue& {
    return place % 2 == 0 ? pairs[place / 2].key : pairs[place / 2].value;
  };
  if (const auto* sequence = value.sequence_node()) return sequence->items[index];
  if (const auto* dict = value.dict_node()) return in_pairs(dict->pairs, index);
  const PickleObject& object = *value.object_node();
  if (index == 0) return object.state;
  index -= 1;
  if (index < object.arguments.size()) return object.arguments[index];
  index -= object.arguments.size();
  if (index < object.items.size()) return object.items[index];
  return in_pairs(object.pairs, index - object.items.size());
}

}  // namespace fakescore::detail
