#pragma once

#include <cstddef>
#include <functional>

namespace fakescore::benchmark {

/// Has the kernel make the pages of [data, data + bytes) at once, where it can
/// (MADV_POPULATE_WRITE, Linux 5.14).
void populate(void* data, size_t bytes);

/// Makes so many bytes of pages on each of a host's `ranks`, as far as there is room and where the
/// kernel can, and frees them once all have theirs. Collective: `meet` is a barrier of the ranks.
///
/// A virtual machine may have given memory that is free back to its host; each page of it then
/// takes several times as long to make. For what is timed right afterwards it is there again.
void give_pages(size_t bytes, int ranks, const std::function<void()>& meet);

}  // namespace fakescore::benchmark
