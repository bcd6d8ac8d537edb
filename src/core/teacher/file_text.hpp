#pragma once

#include <string>
#include <string_view>

namespace fakescore::detail {

/// Text of a file for an error's message: cut, and without bytes that are not printable ASCII.
std::string shown(std::string_view text);

bool is_utf8(const std::string& text);

}  // namespace fakescore::detail
