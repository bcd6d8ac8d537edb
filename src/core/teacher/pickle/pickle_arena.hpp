#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/teacher/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// Makes the containers of a pickle and knows all of them. A pickle may put a container into
/// itself, which would never be freed, and may nest so deep that freeing overflows the stack:
/// unless `release` said that neither is so, the containers are emptied one by one.
class PickleArena {
 public:
  PickleArena() = default;
  ~PickleArena();
  PickleArena(const PickleArena&) = delete;
  PickleArena& operator=(const PickleArena&) = delete;

  std::shared_ptr<PickleItems> make_items(PickleItems items = {});
  std::shared_ptr<PicklePairs> make_pairs(PicklePairs pairs = {});
  std::shared_ptr<PickleValue> make_value(PickleValue value);
  std::shared_ptr<PickleObject> make_object(PickleObject object);

  /// Lets go of the containers, to live as long as they are used; says what stands against it.
  std::optional<std::string> release();

 private:
  std::vector<std::shared_ptr<PickleItems>> items_;
  std::vector<std::shared_ptr<PicklePairs>> pairs_;
  std::vector<std::shared_ptr<PickleValue>> values_;
  std::vector<std::shared_ptr<PickleObject>> objects_;
};

}  // namespace fakescore::detail
