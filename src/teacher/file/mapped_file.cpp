#include "teacher/file/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "teacher/file/teacher_error.hpp"

namespace fakescore::detail {

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path,
                                                   Access access) {
  const std::shared_ptr<MappedFile> file(new MappedFile(path));
  file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->descriptor_ < 0) {
    throw_teacher_error(path, "", std::string("cannot be opened: ") + std::strerror(errno),
                        "give a path that this rank can read");
  }
  struct stat status {};
  if (::fstat(file->descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    throw_teacher_error(path, "", "is not a regular file", "give a checkpoint's file or folder");
  }
  constexpr int64_t kNanoseconds = 1'000'000'000;
  file->modified_ns_ = status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec;
  file->size_ = static_cast<size_t>(status.st_size);
  if (file->size_ > 0) {
    void* mapping = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, file->descriptor_, 0);
    if (mapping == MAP_FAILED && errno == ENOMEM) {
      throw MemoryError(path.string(), "is too large to be mapped here, or one mapping too many",
                        "raise this rank's limits: ulimit -v, vm.max_map_count");
    }
    if (mapping == MAP_FAILED) {
      throw_teacher_error(path, "", std::string("cannot be mapped: ") + std::strerror(errno));
    }
    file->data_ = static_cast<const std::byte*>(mapping);
  }
  // A distributed checkpoint may have more files than a process may have open.
  if (access == Access::kMapped) ::close(std::exchange(file->descriptor_, -1));
  return file;
}

void MappedFile::read(size_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t bytes = ::pread(descriptor_, to.data(), to.size(), static_cast<off_t>(offset));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) {
      throw_teacher_error(path_, "", std::string("cannot be read: ") + std::strerror(errno));
    }
    if (bytes == 0) {
      throw_teacher_error(path_, "", "has become shorter since it was opened",
                          "leave the file alone until all ranks have it");
    }
    offset += static_cast<size_t>(bytes);
    to = to.subspan(static_cast<size_t>(bytes));
  }
}

void MappedFile::forget(size_t offset, size_t bytes) const noexcept {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + bytes) / page * page;
  if (begin >= end) return;
  // A hint: where it fails, the pages stay until the file is closed.
  static_cast<void>(::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED));
}

}  // namespace fakescore::detail
