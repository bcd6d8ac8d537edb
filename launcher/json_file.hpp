#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace fakescore::launcher {

/// Writes an object as UTF-8, whole or not at all. A text that is not UTF-8, such as a path, gets
/// U+FFFD for what is not, and its exact bytes are kept in a last key of the object:
///
///     "exact_bytes": [{"at": "/teacher", "hex": "2f746d702f636166e9"}]
///
/// where `at` is the text's JSON pointer. The key is there if a text needs it. Throws ConfigError
/// naming the file.
void write_json(const std::filesystem::path& path, nlohmann::ordered_json json);

}  // namespace fakescore::launcher
