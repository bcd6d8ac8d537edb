#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace fakescore::detail {

struct PickleValue;
using PickleItems = std::vector<PickleValue>;
using PicklePairs = std::vector<std::pair<PickleValue, PickleValue>>;

/// A class or function that a pickle names; it is never looked up or called.
struct PickleGlobal {
  std::string name;  ///< "module.qualified_name", such as "torch._utils._rebuild_tensor_v2"
  friend bool operator==(const PickleGlobal&, const PickleGlobal&) = default;
};

struct PickleBytes {
  std::string bytes;
};
struct PickleTuple {
  std::shared_ptr<PickleItems> items;
};
struct PickleList {
  std::shared_ptr<PickleItems> items;
};
struct PickleSet {
  std::shared_ptr<PickleItems> items;
};
struct PickleDict {
  std::shared_ptr<PicklePairs> pairs;  ///< in the order written
};
/// What a persistent id stands for is the reader's business: a storage, in torch.save's files.
struct PicklePersistentId {
  std::shared_ptr<PickleValue> id;
};

/// What REDUCE, NEWOBJ and BUILD describe: a callable, its arguments, the state and the items that
/// it would be given. An OrderedDict is one of these, with its pairs in `pairs`.
struct PickleObject;
struct PickleReduced {
  std::shared_ptr<PickleObject> object;
};

/// One value of a pickle, as data. Containers are shared, as the pickle's memo shares them.
struct PickleValue {
  std::variant<std::monostate, bool, int64_t, double, std::string, PickleBytes, PickleGlobal,
               PickleTuple, PickleList, PickleSet, PickleDict, PicklePersistentId, PickleReduced>
      value;

  template <typename T>
  const T* as() const noexcept {
    return std::get_if<T>(&value);
  }
  bool is_none() const noexcept { return as<std::monostate>() != nullptr; }
};

struct PickleObject {
  std::string callable;  ///< the name of the PickleGlobal
  PickleItems arguments;
  PickleValue state;  ///< what BUILD gave; None where there was none
  PickleItems items;  ///< what APPENDS gave
  PicklePairs pairs;  ///< what SETITEMS gave
};

}  // namespace fakescore::detail
