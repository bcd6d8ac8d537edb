#include "core/teacher/pickle/pickle_arena.hpp"

#include <unordered_map>
#include <utility>

namespace fakescore::detail {
namespace {

constexpr size_t kMaxDepth = 1000;

/// The container that a value is, as the address of its content; null for a plain value.
const void* container_of(const PickleValue& value) {
  return std::visit(
      [](const auto& held) -> const void* {
        if constexpr (requires { held.items; }) {
          return held.items.get();
        } else if constexpr (requires { held.pairs; }) {
          return held.pairs.get();
        } else if constexpr (requires { held.id; }) {
          return held.id.get();
        } else if constexpr (requires { held.object; }) {
          return held.object.get();
        } else {
          return nullptr;
        }
      },
      value.value);
}

using Children = std::vector<const void*>;

void add(Children& children, const PickleValue& value) {
  if (const void* container = container_of(value)) children.push_back(container);
}
void add(Children& children, const PickleItems& items) {
  for (const PickleValue& item : items) add(children, item);
}
void add(Children& children, const PicklePairs& pairs) {
  for (const auto& [key, value] : pairs) {
    add(children, key);
    add(children, value);
  }
}
void add(Children& children, const PickleObject& object) {
  add(children, object.arguments);
  add(children, object.state);
  add(children, object.items);
  add(children, object.pairs);
}

/// Which containers lie in which.
class Nesting {
 public:
  template <typename Content>
  void add_containers(const std::vector<std::shared_ptr<Content>>& containers) {
    for (const auto& container : containers) add(nodes_[container.get()].children, *container);
  }

  /// Walks without recursion: what it looks for is what recursion would not survive.
  std::optional<std::string> find_fault() {
    for (auto& [start, node] : nodes_) {
      if (node.height == 0 && !measure(start)) return "puts a container into itself";
      if (node.height > kMaxDepth) {
        return "nests containers deeper than " + std::to_string(kMaxDepth);
      }
    }
    return std::nullopt;
  }

 private:
  struct Node {
    Children children;
    size_t next_child = 0;
    size_t height = 0;  ///< of the tallest nest in it, itself included; 0 before that is known
    bool open = false;
  };

  /// False where a cycle was met.
  bool measure(const void* start) {
    std::vector<Node*> path{&opened(start)};
    while (!path.empty()) {
      Node& node = *path.back();
      if (node.next_child == node.children.size()) {
        path.pop_back();
        close(node);
        continue;
      }
      Node& child = nodes_.at(node.children[node.next_child++]);
      if (child.open) return false;
      if (child.height > 0) continue;
      child.open = true;
      path.push_back(&child);
    }
    return true;
  }

  Node& opened(const void* container) {
    Node& node = nodes_.at(container);
    node.open = true;
    return node;
  }

  void close(Node& node) {
    node.open = false;
    node.height = 1;
    for (const void* child : node.children) {
      node.height = std::max(node.height, nodes_.at(child).height + 1);
    }
  }

  std::unordered_map<const void*, Node> nodes_;
};

}  // namespace

PickleArena::~PickleArena() {
  for (const auto& items : items_) items->clear();
  for (const auto& pairs : pairs_) pairs->clear();
  for (const auto& value : values_) *value = PickleValue{};
  for (const auto& object : objects_) *object = PickleObject{};
}

std::shared_ptr<PickleItems> PickleArena::make_items(PickleItems items) {
  return items_.emplace_back(std::make_shared<PickleItems>(std::move(items)));
}

std::shared_ptr<PicklePairs> PickleArena::make_pairs(PicklePairs pairs) {
  return pairs_.emplace_back(std::make_shared<PicklePairs>(std::move(pairs)));
}

std::shared_ptr<PickleValue> PickleArena::make_value(PickleValue value) {
  return values_.emplace_back(std::make_shared<PickleValue>(std::move(value)));
}

std::shared_ptr<PickleObject> PickleArena::make_object(PickleObject object) {
  return objects_.emplace_back(std::make_shared<PickleObject>(std::move(object)));
}

std::optional<std::string> PickleArena::release() {
  Nesting nesting;
  nesting.add_containers(items_);
  nesting.add_containers(pairs_);
  nesting.add_containers(values_);
  nesting.add_containers(objects_);
  if (auto fault = nesting.find_fault()) return fault;
  items_.clear();
  pairs_.clear();
  values_.clear();
  objects_.clear();
  return std::nullopt;
}

}  // namespace fakescore::detail
