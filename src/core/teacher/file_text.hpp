#pragma once

#include <string>
#include <string_view>

namespace fakescore::detail {

/// Text of a file for an error's message: cut, and without bytes that are not printable ASCII.
std::string shown(std::string_view text);

bool is_utf8(std::string_view text);

}  // namespace fakescore::detail
