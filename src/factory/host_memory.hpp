#pragma once

#include <cstdint>

namespace fakescore::detail {

/// Peak resident set of this process in bytes (VmHWM of /proc/self/status); 0 where unknown.
uint64_t peak_host_bytes();

}  // namespace fakescore::detail
