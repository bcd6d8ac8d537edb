#pragma once

#include <cstddef>

namespace fakescore::benchmark {

/// Has the kernel make the pages of [data, data + bytes) at once, where it can
/// (MADV_POPULATE_WRITE, Linux 5.14).
void populate(void* data, size_t bytes);

/// Makes and frees so many bytes of pages, as far as there is room for them beside those of the
/// host's other `ranks`.
///
/// A virtual machine may have given memory that is free back to its host; each page of it then
/// takes several times as long to make. For what is timed right afterwards it is there again.
void give_pages(size_t bytes, int ranks);

}  // namespace fakescore::benchmark
