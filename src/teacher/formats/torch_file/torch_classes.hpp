#pragma once

#include <string>
#include <string_view>

namespace fakescore::detail {

/// What to do about a tensor of a class that is none of torch's own: what works for this class, and
/// not what made the file. `has_plain_data` says whether its elements are those of a plain tensor.
std::string remedy_for_tensor_class(std::string_view name, bool has_plain_data);

/// What to do about an object of this class in a state dict.
std::string remedy_for_object_class(std::string_view name);

}  // namespace fakescore::detail
