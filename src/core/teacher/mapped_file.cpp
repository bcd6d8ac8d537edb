#include "core/teacher/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

MappedFile::MappedFile(std::filesystem::path path, const std::byte* data, size_t size,
                       int64_t modified_ns)
    : path_(std::move(path)), data_(data), size_(size), modified_ns_(modified_ns) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) {
    throw_teacher_error(path, "", std::string("cannot be opened: ") + std::strerror(errno),
                        "give a path that the root rank can read");
  }
  struct stat status {};
  if (::fstat(file.fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    throw_teacher_error(path, "", "is not a regular file", "give a checkpoint's file or folder");
  }
  const auto size = static_cast<size_t>(status.st_size);
  const std::byte* data = nullptr;
  if (size > 0) {
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (mapping == MAP_FAILED) {
      throw_teacher_error(path, "", std::string("cannot be mapped: ") + std::strerror(errno));
    }
    data = static_cast<const std::byte*>(mapping);
  }
  constexpr int64_t kNanoseconds = 1'000'000'000;
  const int64_t modified_ns = status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec;
  return std::shared_ptr<const MappedFile>(new MappedFile(path, data, size, modified_ns));
}

}  // namespace fakescore::detail
