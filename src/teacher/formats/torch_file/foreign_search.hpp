#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// Looks for inert records in a pickle, at whatever depth; no container is looked at twice.
class ForeignSearch {
 public:
  /// `nodes` is how many containers the pickle has.
  ForeignSearch(uint32_t nodes, ReadBudget& budget);

  /// The name of a foreign class or function in `value`, itself included, that was not looked at
  /// yet; empty where there is none.
  std::string_view find(const PickleValue& value);

 private:
  bool look_at(const PickleValue& value);

  ReadBudget& budget_;
  std::vector<bool> seen_;
  std::vector<const PickleValue*> rest_;
};

}  // namespace fakescore::detail
