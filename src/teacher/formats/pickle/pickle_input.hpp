#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "teacher/file/teacher_error.hpp"

namespace fakescore::detail {

/// The bytes of a pickle, read from the first to the last.
class PickleInput {
 public:
  PickleInput(std::span<const std::byte> bytes, const std::filesystem::path& file)
      : bytes_(bytes), file_(file) {}

  size_t position() const noexcept { return position_; }

  /// A little-endian unsigned number of `width` bytes, at most eight.
  uint64_t number(size_t width) {
    uint64_t value = 0;
    std::memcpy(&value, text(width).data(), width);
    return value;
  }

  std::string_view text(uint64_t length) {
    if (length > bytes_.size() - position_) {
      fail("is truncated: " + std::to_string(length) + " more bytes were expected, but only " +
           std::to_string(bytes_.size() - position_) + " are there");
    }
    const std::string_view result(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
    position_ += length;
    return result;
  }

  /// Up to the next newline, which is read as well and left out.
  std::string_view line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + position_,
                                bytes_.size() - position_);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) fail("is truncated: a line has no end");
    position_ += end + 1;
    return rest.substr(0, end);
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw_teacher_error(file_, "",
                        "its pickle, at byte " + std::to_string(position_) + ", " + message);
  }

 private:
  std::span<const std::byte> bytes_;
  const std::filesystem::path& file_;
  size_t position_ = 0;
};

}  // namespace fakescore::detail
