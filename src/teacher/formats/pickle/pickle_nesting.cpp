#include "teacher/formats/pickle/pickle_nesting.hpp"

#include <algorithm>
#include <vector>

#include "teacher/formats/pickle/pickle_children.hpp"

namespace fakescore::detail {
namespace {

constexpr uint16_t kMaxDepth = 1000;
constexpr const char* kNests = "nests more than its pickle describes";

bool is_walked(const PickleValue& value) {
  return pickle_node(value) != nullptr && (value.object() == nullptr || !value.object()->is_inert);
}

/// Walks without recursion: what it looks for is what recursion would not survive.
class NestingWalk {
 public:
  NestingWalk(uint32_t nodes, ReadBudget& budget) : budget_(budget) {
    budget.charge_memory(nodes * sizeof(Height), kNests);
    heights_.resize(nodes);
  }

  std::optional<std::string> walk(const PickleValue& root) {
    if (is_walked(root)) enter(root);
    while (!path_.empty()) {
      if (path_.size() > kMaxDepth) return too_deep();
      Step& step = path_.back();
      if (step.next == step.children) {
        leave();
        if (deepest_ > kMaxDepth) return too_deep();
        continue;
      }
      const PickleValue& child = child_at(*step.value, step.next++);
      if (!is_walked(child)) continue;
      const Height known = heights_[pickle_node(child)->id];
      if (known == kOpen) return "puts a container into itself";
      if (known == 0) {
        enter(child);
      } else {
        step.height = std::max<Height>(step.height, known + 1);
      }
    }
    return std::nullopt;
  }

 private:
  /// Of the tallest nest in a container, itself included; 0 before it was looked at.
  using Height = uint16_t;
  static constexpr Height kOpen = UINT16_MAX;
  struct Step {
    const PickleValue* value;
    size_t children;
    size_t next;
    Height height;
  };

  static std::string too_deep() {
    return "nests containers deeper than " + std::to_string(kMaxDepth);
  }

  void enter(const PickleValue& value) {
    const size_t children = count_children(value);
    budget_.charge_work(1 + children, kNests);
    heights_[pickle_node(value)->id] = kOpen;
    path_.push_back({&value, children, 0, 1});
  }

  void leave() {
    const Step done = path_.back();
    path_.pop_back();
    heights_[pickle_node(*done.value)->id] = done.height;
    deepest_ = std::max(deepest_, done.height);
    if (path_.empty()) return;
    path_.back().height = std::max<Height>(path_.back().height, done.height + 1);
  }

  ReadBudget& budget_;
  std::vector<Height> heights_;
  std::vector<Step> path_;
  Height deepest_ = 0;
};

}  // namespace

std::optional<std::string> find_nesting_fault(const PickleValue& root, uint32_t nodes,
                                              ReadBudget& budget) {
  return NestingWalk(nodes, budget).walk(root);
}

}  // namespace fakescore::detail
