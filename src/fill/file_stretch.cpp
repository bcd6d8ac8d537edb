#include "fill/file_stretch.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace fakescore::detail {

FileStretch::FileStretch(const std::filesystem::path& path, uint64_t bytes)
    : file_(MappedFile::open(path, MappedFile::Access::kMappedAndRead)),
      bytes_(std::min<uint64_t>(bytes, file_->size())) {}

void FileStretch::cool() const {
  const int descriptor = ::open(file_->path().c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  // Pages that are yet to be written stay.
  static_cast<void>(::fdatasync(descriptor));
  static_cast<void>(
      ::posix_fadvise(descriptor, 0, static_cast<off_t>(bytes_), POSIX_FADV_DONTNEED));
  ::close(descriptor);
}

double FileStretch::cached() const {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((bytes_ + page - 1) / page);
  void* const begin = const_cast<std::byte*>(file_->bytes().data());
  if (pages.empty() || ::mincore(begin, bytes_, pages.data()) != 0) return 1;
  const auto there =
      std::count_if(pages.begin(), pages.end(), [](unsigned char state) { return state & 1U; });
  return static_cast<double>(there) / static_cast<double>(pages.size());
}

}  // namespace fakescore::detail
