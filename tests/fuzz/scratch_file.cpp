#include "fuzz/scratch_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <system_error>

#include "teacher/file/file_numbers.hpp"

namespace fakescore::fuzz {
namespace {

void check_written(bool is_written, const char* what) {
  if (!is_written) throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

ScratchFile::ScratchFile()
    : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)),
      path_("/proc/self/fd/" + std::to_string(descriptor_)) {
  check_written(descriptor_ >= 0, "memfd_create");
}

ScratchFile::~ScratchFile() { ::close(descriptor_); }

const std::filesystem::path& ScratchFile::write(const std::string& content) const {
  check_written(::ftruncate(descriptor_, 0) == 0, "ftruncate");
  const auto written = ::pwrite(descriptor_, content.data(), content.size(), 0);
  check_written(written == static_cast<ssize_t>(content.size()), "pwrite");
  return path_;
}

ScratchFolder::ScratchFolder() {
  std::string pattern = "/dev/shm/fakescore-fuzz-XXXXXX";
  check_written(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
  path_ = pattern;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

const std::filesystem::path& ScratchFolder::fill(const FolderFiles& files) const {
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    std::filesystem::remove(entry.path());
  }
  for (const auto& [name, content] : files) {
    if (!detail::is_file_name(name)) continue;
    std::ofstream file(path_ / name, std::ios::binary);
    file << content;
    check_written(static_cast<bool>(file), "write");
  }
  return path_;
}

}  // namespace fakescore::fuzz
