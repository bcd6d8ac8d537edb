#include "comm/bulk/shared_memory/shared_segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <random>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace fakescore::detail {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::string random_name() {
  std::random_device random;
  std::ostringstream name;
  name << "fakescore-" << std::hex;
  for (int word = 0; word < 4; ++word) name << random() << "-";
  return name.str();
}

std::string path_of(const SegmentAddress& address) {
  return "/proc/" + std::to_string(address.process) + "/fd/" + std::to_string(address.file);
}

/// Beyond that limit the kernel ends a process that sets a file's size.
void check_file_limit(size_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && bytes <= limit.rlim_cur) return;
  errno = EFBIG;
  fail("shared memory");
}

int make_file(const char* name) {
  constexpr unsigned kNoExecSeal = 8;  // MFD_NOEXEC_SEAL, which some machines insist on
  const int file = ::memfd_create(name, MFD_CLOEXEC | kNoExecSeal);
  if (file >= 0 || errno != EINVAL) return file;
  return ::memfd_create(name, MFD_CLOEXEC);  // before Linux 6.3
}

/// The kernel's own words for such a file.
void require_name(const std::string& path, const std::string& name) {
  const std::string found = std::filesystem::read_symlink(path).string();
  if (found != "/memfd:" + name + " (deleted)") throw std::runtime_error(path + " is " + found);
}

}  // namespace

SharedSegment SharedSegment::make(size_t bytes) {
  check_file_limit(bytes);
  SharedSegment segment;
  SegmentAddress& address = segment.address_;
  address.process = ::getpid();
  address.name = random_name();
  address.file = make_file(address.name.c_str());
  if (address.file < 0) fail("memfd_create");
  if (::ftruncate(address.file, static_cast<off_t>(bytes)) != 0) fail("size of shared memory");
  segment.map(address.file, bytes);
  return segment;
}

SharedSegment SharedSegment::open(const SegmentAddress& address, size_t bytes) {
  const std::string path = path_of(address);
  // Before it is opened: to open another one may block, or have effects.
  require_name(path, address.name);
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) fail(path);
  SharedSegment segment;
  try {
    require_name("/proc/self/fd/" + std::to_string(file), address.name);
    struct stat found {};
    if (::fstat(file, &found) != 0) fail(path);
    if (found.st_size != static_cast<off_t>(bytes)) {
      throw std::runtime_error(path + " has " + std::to_string(found.st_size) + " bytes");
    }
    segment.map(file, bytes);
  } catch (...) {
    ::close(file);
    throw;
  }
  ::close(file);
  return segment;
}

void SharedSegment::map(int file, size_t bytes) {
  void* const data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) fail("mmap of shared memory");
  data_ = static_cast<std::byte*>(data);
  bytes_ = bytes;
  // Children, such as a data loader's, would keep it for as long as they live.
  ::madvise(data, bytes, MADV_DONTFORK);
}

SharedSegment::SharedSegment(SharedSegment&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(other.bytes_),
      address_(std::exchange(other.address_, {0, -1, {}})) {}

SharedSegment::~SharedSegment() {
  if (address_.file >= 0) ::close(address_.file);
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

}  // namespace fakescore::detail
