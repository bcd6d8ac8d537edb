#include "transfer/populate.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace fakescore::detail {
namespace {

constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, missing from older headers

}  // namespace

void populate_pages(void* data, size_t bytes) noexcept {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data) & ~(page - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes + page - 1) & ~(page - 1);
  // The result is of no use: without the hint the pages are faulted in when they are written.
  static_cast<void>(::madvise(reinterpret_cast<void*>(begin), end - begin,  // NOLINT
                              kPopulateWrite));
}

}  // namespace fakescore::detail
