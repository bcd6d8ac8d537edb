#pragma once

#include <string>

namespace fakescore::detail {

/// The first host of a Slurm node list such as "gpu[003-005,9],login1"; empty when there is none.
std::string first_slurm_host(const std::string& node_list);

}  // namespace fakescore::detail
