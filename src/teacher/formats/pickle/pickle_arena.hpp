#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>
#include <set>
#include <type_traits>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// Owns what the values of a pickle refer to, and frees it at once, however deep it is nested and
/// wherever it refers to itself. Every allocation is charged to the budget, which need not live
/// longer than the last one.
class PickleArena {
 public:
  explicit PickleArena(ReadBudget& budget) : budget_(budget) {}
  ~PickleArena();
  PickleArena(const PickleArena&) = delete;
  PickleArena& operator=(const PickleArena&) = delete;

  /// A container with an id of its own.
  template <typename Node>
  Node& make_node() {
    Node& node = make<Node>();
    node.id = nodes_++;
    return node;
  }
  template <typename T>
  T& make() {
    static_assert(std::is_trivially_destructible_v<T>);
    return *new (allocate(sizeof(T))) T();
  }
  char* make_text(size_t length) { return static_cast<char*>(allocate(length)); }

  template <typename T>
  void append(PickleArray<T>& array, const T& value) {
    reserve(array, array.size() + 1);
    array.first[array.count++] = value;
  }
  /// Room for `count` elements in all, and for more to come where there were some.
  template <typename T>
  void reserve(PickleArray<T>& array, size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (count <= array.capacity) return;
    const size_t capacity = std::max<size_t>(count, size_t{2} * array.capacity);
    array.first = static_cast<T*>(grow(array.first, array.count * sizeof(T),
                                       array.capacity * sizeof(T), capacity * sizeof(T)));
    array.capacity = static_cast<uint32_t>(capacity);
  }

  /// How many ids were given.
  uint32_t nodes() const noexcept { return nodes_; }

 private:
  void* allocate(size_t bytes);
  /// Larger memory with what is used of the old one, whose room was `old_bytes`.
  void* grow(void* old, size_t used_bytes, size_t old_bytes, size_t bytes);

  ReadBudget& budget_;
  std::pmr::monotonic_buffer_resource pool_;
  /// Large arrays: they grow where they are, so that long lists cost their elements alone.
  std::set<void*> blocks_;
  uint32_t nodes_ = 0;
};

}  // namespace fakescore::detail
