#include "fresh_pages.hpp"

#include <sys/mman.h>

#include <algorithm>

#include "process_usage.hpp"

namespace fakescore::benchmark {
namespace {

constexpr int kPopulateWrite = 23;  // missing from older headers

}  // namespace

void populate(void* data, size_t bytes) {
  // Without it they are made when they are written.
  static_cast<void>(::madvise(data, bytes, kPopulateWrite));
}

void give_pages(size_t bytes, int ranks, const std::function<void()>& meet) {
  meet();
  // The kernel keeps some for itself.
  const size_t room = free_bytes() / 10 * 9 / static_cast<size_t>(ranks);
  const size_t most = std::min(bytes, room);
  void* const mapped =
      ::mmap(nullptr, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  meet();  // none makes pages before all have seen how many are free
  if (mapped != MAP_FAILED) populate(mapped, most);
  meet();
  if (mapped != MAP_FAILED) ::munmap(mapped, most);
}

}  // namespace fakescore::benchmark
