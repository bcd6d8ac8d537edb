#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "core/teacher/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// Says whether a pickle may name this global, as "module.qualified_name".
using AllowsGlobal = std::function<bool(const std::string& name)>;

/// Reads a pickle of protocol 2 to 5 (https://docs.python.org/3/library/pickletools.html) as data:
/// nothing is imported, looked up or called. At most 256 MiB, and bounded in depth, in memory (by
/// the size of the pickle) and in time. Throws TeacherError naming `file` and the byte: a global
/// that is not allowed (by its name), an opcode that it does not know, truncation, a stack or memo
/// that does not fit.
PickleValue read_pickle(std::span<const std::byte> pickle, const AllowsGlobal& allows,
                        const std::filesystem::path& file);

}  // namespace fakescore::detail
