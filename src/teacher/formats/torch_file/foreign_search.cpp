#include "teacher/formats/torch_file/foreign_search.hpp"

#include "teacher/formats/pickle/pickle_children.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kSearched = "holds more objects than its pickle describes";

std::string_view foreign_name(const PickleValue& value) {
  if (value.global() != nullptr && value.global()->is_foreign) return value.global()->name;
  if (value.object() != nullptr && value.object()->is_inert) return value.object()->callable;
  return {};
}

}  // namespace

ForeignSearch::ForeignSearch(uint32_t nodes, ReadBudget& budget) : budget_(budget) {
  budget_.charge_memory(nodes / 8, kSearched);
  seen_.resize(nodes);
}

std::string_view ForeignSearch::find(const PickleValue& value) {
  rest_.assign(1, &value);
  while (!rest_.empty()) {
    const PickleValue& next = *rest_.back();
    rest_.pop_back();
    if (const std::string_view name = foreign_name(next); !name.empty()) return name;
    if (!look_at(next)) continue;
    const size_t children = count_children(next);
    budget_.charge_work(1 + children, kSearched);
    // The first of them is to be looked at first.
    for (size_t i = children; i > 0; --i) rest_.push_back(&child_at(next, i - 1));
  }
  return {};
}

bool ForeignSearch::look_at(const PickleValue& value) {
  const PickleNode* node = pickle_node(value);
  if (node == nullptr || seen_[node->id]) return false;
  seen_[node->id] = true;
  return true;
}

}  // namespace fakescore::detail
