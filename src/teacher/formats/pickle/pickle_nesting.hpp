#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// What stands against walking over `root` by recursion: a container in itself, or one below more
/// than 1000 others. What lies in inert objects is not looked at. `nodes` is how many containers
/// there are.
std::optional<std::string> find_nesting_fault(const PickleValue& root, uint32_t nodes,
                                              ReadBudget& budget);

}  // namespace fakescore::detail
