#include "limits.hpp"

#include <mpi.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>

#include "fresh_pages.hpp"
#include "process_usage.hpp"

namespace fakescore::benchmark {
namespace {

constexpr size_t kMostSourceBytes = size_t{256} << 20;
constexpr size_t kPopulatedAtOnce = size_t{1} << 20;
constexpr int kPattern = 0x5a;

/// Anonymous memory, none of whose pages exists before it is touched.
class Pages {
 public:
  explicit Pages(size_t bytes) : bytes_(bytes) {
    void* const mapped =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<char*>(mapped);
  }
  ~Pages() { ::munmap(data_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  char* data() const noexcept { return data_; }
  void fill() { std::memset(data_, kPattern, bytes_); }
  void check() const {
    if (data_[0] != kPattern || std::memcmp(data_, data_ + 1, bytes_ - 1) != 0) {
      throw std::runtime_error("the limit's bytes did not arrive");
    }
  }

 private:
  char* data_;
  size_t bytes_;
};

/// Of what makes so many bytes of pages.
template <typename Action>
Cost timed(size_t bytes, const Action& action) {
  int ranks = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  give_pages(bytes, ranks, [] { MPI_Barrier(MPI_COMM_WORLD); });
  MPI_Barrier(MPI_COMM_WORLD);
  const double cpu_before = usage().cpu_seconds;
  const auto begin = std::chrono::steady_clock::now();
  action();
  MPI_Barrier(MPI_COMM_WORLD);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  return {elapsed.count(), usage().cpu_seconds - cpu_before};
}

/// Of `bytes`, as much at a time as there is in the source.
template <typename CopyPart>
Cost copy(size_t bytes, const CopyPart& copy_part) {
  const size_t source_bytes = std::min(bytes, kMostSourceBytes);
  Pages source(source_bytes);
  Pages target(bytes);
  source.fill();
  const Cost cost = timed(bytes, [&] {
    for (size_t begin = 0; begin < bytes; begin += source_bytes) {
      copy_part(target.data() + begin, source.data(), std::min(source_bytes, bytes - begin));
    }
  });
  target.check();
  return cost;
}

}  // namespace

Cost broadcast_limit(size_t bytes) {
  // MPI counts elements in an int: of doubles, enough for 16 GiB.
  const size_t doubles = (bytes + sizeof(double) - 1) / sizeof(double);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  Pages pages(doubles * sizeof(double));
  if (rank == 0) pages.fill();
  const Cost cost = timed(bytes, [&] {
    MPI_Bcast(pages.data(), static_cast<int>(doubles), MPI_DOUBLE, 0, MPI_COMM_WORLD);
  });
  pages.check();
  return cost;
}

Cost copy_limit(size_t bytes) {
  return copy(bytes, [](char* to, const char* from, size_t part) { std::memcpy(to, from, part); });
}

Cost populated_copy_limit(size_t bytes) {
  return copy(bytes, [](char* to, const char* from, size_t part) {
    for (size_t begin = 0; begin < part; begin += kPopulatedAtOnce) {
      const size_t piece = std::min(kPopulatedAtOnce, part - begin);
      populate(to + begin, piece);
      std::memcpy(to + begin, from + begin, piece);
    }
  });
}

}  // namespace fakescore::benchmark
