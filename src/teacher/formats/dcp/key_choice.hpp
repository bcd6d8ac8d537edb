#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fakescore::detail {

/// "KEY.": what the names of the tensors below a key begin with; empty for no key and
/// for ".", which means the top.
std::string key_prefix(const std::string& key);

/// Throws a TeacherError naming `file` where none of the names begins with the key's prefix: it
/// says with which parts they do begin.
void check_key(const std::string& key, const std::vector<std::string_view>& names,
               const std::filesystem::path& file);

}  // namespace fakescore::detail
