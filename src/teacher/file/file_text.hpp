#pragma once

#include <string>
#include <string_view>

namespace fakescore::detail {

/// Text of a file for an error, which escapes what is not printable: its first 200 bytes, but for a
/// character that ends later.
std::string shown(std::string_view text);

}  // namespace fakescore::detail
