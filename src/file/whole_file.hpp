#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace fakescore::detail {

/// A file that appears under its name whole, or not at all. It is written beside its name, and
/// commit() moves it there; until then, and after any failure, an older file of that name is as it
/// was. A device or a pipe has nothing to keep and is written in place.
///
/// Constructing one and dropping it tries whether the file can be written, and leaves no trace.
/// All functions throw std::system_error, whose what() says why, without the path.
class WholeFile {
 public:
  explicit WholeFile(const std::filesystem::path& path) : target_(follow_links(path)) {
    struct stat old {};
    const bool is_there = ::stat(target_.c_str(), &old) == 0;
    if (!is_there && errno != ENOENT) fail();
    if (is_there && !S_ISREG(old.st_mode)) {
      descriptor_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
      if (descriptor_ < 0) fail();
      return;
    }
    // A move onto a file asks whether its folder may be written, and not whether the file may.
    const bool is_protected =
        is_there && ::faccessat(AT_FDCWD, target_.c_str(), W_OK, AT_EACCESS) != 0;
    if (is_protected) fail();
    if (is_there && is_mount_point()) fail(EBUSY, "it is mounted by itself: mount its folder");
    open_partial();
    if (is_there) take_owner_and_mode(old);
  }

  ~WholeFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!partial_.empty()) ::unlink(partial_.c_str());
  }
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno != EINTR) fail();
      if (count > 0) bytes.remove_prefix(static_cast<size_t>(count));
    }
  }

  /// Nothing else may be called afterwards.
  void commit() {
    // A crash of the machine must not leave the name with an empty file. Some file systems cannot
    // do this, and say so.
    const bool is_synced = partial_.empty() || ::fsync(descriptor_) == 0;
    if (!is_synced && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) fail();
    const int closed = ::close(descriptor_);
    descriptor_ = -1;
    if (closed != 0) fail();
    if (partial_.empty()) return;
    if (::rename(partial_.c_str(), target_.c_str()) != 0) fail();
    partial_.clear();
  }

 private:
  [[noreturn]] static void fail() { throw std::system_error(errno, std::generic_category()); }
  [[noreturn]] static void fail(int error, const char* why) {
    throw std::system_error(error, std::generic_category(), why);
  }

  /// Where a link leads, which need not be there: the link stays, and its file is replaced.
  static std::filesystem::path follow_links(std::filesystem::path path) {
    constexpr int kMostLinks = 40;  // as Linux has it
    std::error_code ignored;
    for (int i = 0; i < kMostLinks; ++i) {
      // What a link of /proc says of a pipe is no path.
      const auto type = std::filesystem::status(path, ignored).type();
      const bool is_special = type != std::filesystem::file_type::regular &&
                              type != std::filesystem::file_type::not_found;
      if (is_special || !std::filesystem::is_symlink(path, ignored)) return path;
      path = path.parent_path() / std::filesystem::read_symlink(path);
    }
    fail(ELOOP, "it is a link");
  }

  bool is_mount_point() const {
    struct statx status {};
    return ::statx(AT_FDCWD, target_.c_str(), 0, 0, &status) == 0 &&
           (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  }

  void open_partial() {
    const auto folder = target_.has_parent_path() ? target_.parent_path() : ".";
    // A process that was killed may have left one, under a number that another process now has.
    for (int i = 0; descriptor_ < 0; ++i) {
      const auto name = ".fakescore-" + std::to_string(::getpid()) + "-" + std::to_string(i);
      const auto candidate = folder / name;
      descriptor_ = ::open(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ < 0 && errno != EEXIST) fail();
      if (descriptor_ >= 0) partial_ = candidate;
    }
  }

  void take_owner_and_mode(const struct stat& old) {
    // Only root may give a file to another; for all others the new file is their own.
    [[maybe_unused]] const int given = ::fchown(descriptor_, old.st_uid, old.st_gid);
    ::fchmod(descriptor_, old.st_mode & 07777);
  }

  std::filesystem::path target_;
  std::filesystem::path partial_;  ///< empty where the target is written in place, or is whole
  int descriptor_ = -1;
};

}  // namespace fakescore::detail
