#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

struct TorchDictEntry {
  const PickleValue* key;
  const PickleValue* value;
};

/// What a dict holds once the pickle is read, in Python's order: of a key that was set twice the
/// last value at the first place, where 1, 1.0 and True are one key.
struct TorchDictEntries {
  std::vector<TorchDictEntry> entries;
  /// The first key of which nobody knows which others it equals: an object, or an integer of more
  /// than 64 bits. Null where there is none.
  const PickleValue* odd_key = nullptr;
};

/// Dicts of one pickle: dict, OrderedDict, defaultdict, Counter, and the modules of TorchScript.
/// Each is looked at once. Use from one thread.
class TorchDicts {
 public:
  explicit TorchDicts(ReadBudget& budget) : budget_(budget) {}

  static bool is_dict(const PickleValue& value);

  /// Of a dict. Throws TeacherError where what Python would make of it is not known: arguments of
  /// other kinds than items, and those that changed after the call; and for dicts that are made of
  /// others deeper than 1000.
  const TorchDictEntries& entries(const PickleValue& dict);

 private:
  TorchDictEntries read(const PickleValue& dict);
  void add_pairs(const PicklePairs& pairs, TorchDictEntries& result);
  void add_arguments(const PickleObject& object, TorchDictEntries& result);
  void add_source(const PickleValue& source, const PickleObject& object, TorchDictEntries& result);
  void merge_keys(TorchDictEntries& result);
  [[noreturn]] void refuse_arguments(const PickleObject& object) const;

  ReadBudget& budget_;
  size_t depth_ = 0;  ///< of the dicts that are made of others and are being read
  std::map<const PickleNode*, TorchDictEntries> known_;
};

}  // namespace fakescore::detail
