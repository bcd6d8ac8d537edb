#pragma once

#include <cstdint>
#include <deque>
#include <map>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// A pickle's memo. Picklers count its places from 0; a pickle that does not has its places in a
/// tree, which no choice of numbers makes slow.
class PickleMemo {
 public:
  explicit PickleMemo(ReadBudget& budget) : budget_(budget) {}

  /// As many places as are taken, which is the next one where they are counted.
  uint64_t size() const noexcept { return counted_.size() + others_.size(); }

  void put(uint64_t place, const PickleValue& value) {
    if (place < counted_.size()) {
      counted_[place] = value;
    } else if (place == counted_.size()) {
      budget_.charge_memory(sizeof(PickleValue), kRemembers);
      counted_.push_back(value);
      if (!others_.empty()) others_.erase(place);
    } else {
      budget_.charge_memory(kTreeNodeBytes, kRemembers);
      budget_.charge_work(kTreeSteps, kRemembers);
      others_.insert_or_assign(place, value);
    }
  }

  /// Null where nothing was put.
  const PickleValue* find(uint64_t place) {
    if (place < counted_.size()) return &counted_[place];
    budget_.charge_work(kTreeSteps, kRemembers);
    const auto found = others_.find(place);
    return found == others_.end() ? nullptr : &found->second;
  }

 private:
  static constexpr const char* kRemembers = "remembers more than its pickle describes";
  static constexpr uint64_t kTreeNodeBytes = 64 + sizeof(PickleValue);
  static constexpr uint64_t kTreeSteps = 32;

  ReadBudget& budget_;
  std::deque<PickleValue> counted_;
  std::map<uint64_t, PickleValue> others_;
};

}  // namespace fakescore::detail
