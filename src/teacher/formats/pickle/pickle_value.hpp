#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace fakescore::detail {

/// An array in a PickleArena, which owns it. A copy is a view of the same elements.
template <typename T>
struct PickleArray {
  T* first = nullptr;
  uint32_t count = 0;
  uint32_t capacity = 0;

  const T* begin() const noexcept { return first; }
  const T* end() const noexcept { return first + count; }
  size_t size() const noexcept { return count; }
  bool empty() const noexcept { return count == 0; }
  const T& operator[](size_t index) const noexcept { return first[index]; }
  const T& front() const noexcept { return *first; }
};

class PickleValue;
struct PicklePair;
struct PickleObject;
using PickleItems = PickleArray<PickleValue>;
using PicklePairs = PickleArray<PicklePair>;

/// A class or function that a pickle names; it is never looked up or called.
struct PickleGlobal {
  std::string_view name;    ///< "module.qualified_name", such as "torch._utils._rebuild_tensor_v2"
  bool is_foreign = false;  ///< is none that the reader knows: inert, as all that is made with it
};

/// What containers have in common: numbers to tell them apart, and when they last changed.
struct PickleNode {
  uint32_t id = 0;          ///< counts the containers of the pickle from 0
  uint32_t changed_at = 0;  ///< the byte of the pickle that changed it last
};
/// A list, a tuple, a set, or a persistent id, which has one item.
struct PickleSequence : PickleNode {
  PickleItems items;
};
struct PickleDict : PickleNode {
  PicklePairs pairs;  ///< as the pickle set them: a key may be there twice
};

/// One value of a pickle, as data: 16 bytes. Texts are views of the pickle's own bytes; containers
/// lie in a PickleArena and are shared, as the pickle's memo shares them. Both must outlive it.
class PickleValue {
 public:
  PickleValue() = default;  ///< None
  explicit PickleValue(bool value) : kind_(Kind::kBool), integer_(value ? 1 : 0) {}
  explicit PickleValue(int64_t value) : kind_(Kind::kInteger), integer_(value) {}
  explicit PickleValue(double value) : kind_(Kind::kReal), real_(value) {}
  explicit PickleValue(const PickleGlobal& value) : kind_(Kind::kGlobal), pointer_(&value) {}
  explicit PickleValue(PickleDict& value) : kind_(Kind::kDict), pointer_(&value) {}
  explicit PickleValue(PickleObject& value) : kind_(Kind::kObject), pointer_(&value) {}
  static PickleValue text(std::string_view text) { return {Kind::kText, text}; }
  static PickleValue bytes(std::string_view bytes) { return {Kind::kBytes, bytes}; }
  /// Of more than 64 bits: in two's complement, little-endian.
  static PickleValue long_integer(std::string_view bytes) { return {Kind::kLongInteger, bytes}; }
  static PickleValue tuple(PickleSequence& items) { return {Kind::kTuple, items}; }
  static PickleValue list(PickleSequence& items) { return {Kind::kList, items}; }
  static PickleValue set(PickleSequence& items) { return {Kind::kSet, items}; }
  /// What it stands for is the reader's business: a storage, in torch.save's files.
  static PickleValue persistent_id(PickleSequence& id) { return {Kind::kPersistentId, id}; }

  /// Each is null where the value is of another kind; of a bool, `integer` is null as well.
  std::optional<bool> boolean() const noexcept {
    return kind_ == Kind::kBool ? std::optional(integer_ != 0) : std::nullopt;
  }
  std::optional<int64_t> integer() const noexcept {
    return kind_ == Kind::kInteger ? std::optional(integer_) : std::nullopt;
  }
  std::optional<double> real() const noexcept {
    return kind_ == Kind::kReal ? std::optional(real_) : std::nullopt;
  }
  std::optional<std::string_view> text() const noexcept { return view(Kind::kText); }
  std::optional<std::string_view> bytes() const noexcept { return view(Kind::kBytes); }
  const PickleGlobal* global() const noexcept { return node<const PickleGlobal>(Kind::kGlobal); }
  const PickleItems* tuple() const noexcept { return items(Kind::kTuple); }
  const PickleItems* list() const noexcept { return items(Kind::kList); }
  const PickleItems* set() const noexcept { return items(Kind::kSet); }
  const PickleValue* persistent_id() const noexcept {
    const PickleItems* id = items(Kind::kPersistentId);
    return id == nullptr ? nullptr : id->begin();
  }
  const PicklePairs* dict() const noexcept {
    const auto* dict = dict_node();
    return dict == nullptr ? nullptr : &dict->pairs;
  }
  const PickleObject* object() const noexcept { return node<const PickleObject>(Kind::kObject); }
  bool is_none() const noexcept { return kind_ == Kind::kNone; }
  bool is_long_integer() const noexcept { return kind_ == Kind::kLongInteger; }

  /// The container itself. To be changed only while the pickle is read.
  PickleSequence* sequence_node() const noexcept {
    const bool is_sequence = kind_ == Kind::kTuple || kind_ == Kind::kList || kind_ == Kind::kSet ||
                             kind_ == Kind::kPersistentId;
    return is_sequence ? node<PickleSequence>(kind_) : nullptr;
  }
  PickleDict* dict_node() const noexcept { return node<PickleDict>(Kind::kDict); }
  PickleObject* object_node() const noexcept { return node<PickleObject>(Kind::kObject); }

 private:
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInteger,
    kReal,
    kText,
    kBytes,
    kLongInteger,
    kGlobal,
    kTuple,
    kList,
    kSet,
    kDict,
    kPersistentId,
    kObject
  };

  PickleValue(Kind kind, std::string_view text)
      : kind_(kind), length_(static_cast<uint32_t>(text.size())), pointer_(text.data()) {}
  PickleValue(Kind kind, PickleSequence& items) : kind_(kind), pointer_(&items) {}

  std::optional<std::string_view> view(Kind kind) const noexcept {
    if (kind_ != kind) return std::nullopt;
    return std::string_view(static_cast<const char*>(pointer_), length_);
  }
  template <typename Node>
  Node* node(Kind kind) const noexcept {
    return kind_ == kind ? static_cast<Node*>(const_cast<void*>(pointer_)) : nullptr;
  }
  const PickleItems* items(Kind kind) const noexcept {
    return kind_ == kind ? &node<PickleSequence>(kind)->items : nullptr;
  }

  Kind kind_ = Kind::kNone;
  uint32_t length_ = 0;
  union {
    int64_t integer_ = 0;
    double real_;
    const void* pointer_;
  };
};
static_assert(sizeof(PickleValue) == 16);

struct PicklePair {
  PickleValue key;
  PickleValue value;
};

/// What REDUCE, NEWOBJ and BUILD describe: a callable, its arguments, the state and the items that
/// it would be given. An OrderedDict is one of these, with its pairs in `pairs`.
struct PickleObject : PickleNode {
  std::string_view callable;  ///< the PickleGlobal's name; of a callable that is made, its maker's
  PickleItems arguments;      ///< and last a dict of those that were given by name, if any
  PickleValue state;          ///< what BUILD gave last
  PickleItems items;          ///< what APPENDS gave
  PicklePairs pairs;          ///< what SETITEMS gave
  uint32_t made_at = 0;       ///< the byte of the pickle that called
  bool is_inert = false;      ///< a foreign callable would make it
  bool is_new = false;        ///< by NEWOBJ, which calls __new__ alone
  bool is_built = false;      ///< BUILD gave a state, be it None
};

}  // namespace fakescore::detail
