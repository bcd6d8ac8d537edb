#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fakescore::detail {

/// The first host of a Slurm node list: "gpu[003-010,12]" gives "gpu003", "a,b" gives "a".
/// nullopt where the list is malformed.
std::optional<std::string> first_slurm_host(std::string_view list);

}  // namespace fakescore::detail
