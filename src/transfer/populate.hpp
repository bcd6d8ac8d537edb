#pragma once

#include <cstddef>

namespace fakescore::detail {

/// Asks the kernel to back [data, data + bytes) with pages in one call, which costs a fraction of
/// as many page faults. A hint: kernels before 5.14 refuse it, and the pages then come one by one.
void populate_pages(void* data, size_t bytes) noexcept;

}  // namespace fakescore::detail
