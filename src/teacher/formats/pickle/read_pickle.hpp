#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/pickle_arena.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// Says whether a reader knows this global, as "module.qualified_name".
using KnowsGlobal = std::function<bool(std::string_view name)>;

/// What becomes of the globals that a reader does not know: the pickle is refused, or they and what
/// is made with them are kept as inert records (PickleGlobal::is_foreign, PickleObject::is_inert).
enum class ForeignGlobals { kRefuse, kKeep };

/// A global that the reader does not know, for an error.
struct ForeignGlobal {
  std::string_view name;
  size_t byte = 0;  ///< where the pickle named it
};

/// What a pickle holds. Texts in it are views of the pickle's bytes, which must live as long.
struct Pickle {
  PickleValue root;
  std::unique_ptr<PickleArena> arena;
  std::deque<PickleValue> persistent_ids;   ///< in the order in which they were met
  std::deque<const PickleObject*> objects;  ///< all but the inert ones, in the same order
  std::optional<ForeignGlobal> foreign;     ///< the first of them, used or not
};

/// Reads a pickle of protocol 2 to 5 (https://docs.python.org/3/library/pickletools.html) as data:
/// nothing is imported, looked up or called. At most 256 MiB, and bounded in depth, in memory and
/// in work by `budget`, to which the caller has added the pickle's bytes. Throws TeacherError
/// naming the budget's file and the byte: a global that is refused (by its name), an opcode that it
/// does not know, truncation, a stack or memo that does not fit.
Pickle read_pickle(std::span<const std::byte> pickle, const KnowsGlobal& knows,
                   ForeignGlobals foreign, ReadBudget& budget);

/// Refuses the pickle of `budget`'s file for a global that is none of a tensor's.
[[noreturn]] void refuse_foreign_global(const ForeignGlobal& foreign, const ReadBudget& budget);

}  // namespace fakescore::detail
