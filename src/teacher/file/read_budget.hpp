#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "teacher/file/teacher_error.hpp"

namespace fakescore::detail {

/// What reading one untrusted file may cost, whatever the file says. It grows with the bytes that
/// describe tensors (a header, a pickle, an index, a directory), not with the tensors' elements.
/// Every reader charges before it allocates or works; nothing is given back, so that the sum bounds
/// the peak. A charge for what was read once and is then shared is made once.
class ReadBudget {
 public:
  /// No file takes more than 64 bytes a byte: four are left to what nobody charges, such as the
  /// mapped file and what allocators add.
  static constexpr uint64_t kMemoryPerByte = 60;
  /// A step is what takes about 10 ns: to look at one value, to compare two short texts, to copy or
  /// check 64 bytes. 64 of them a byte are two thirds of a second a MiB.
  static constexpr uint64_t kStepsPerByte = 64;
  /// Small files have as much as if they had these bytes more.
  static constexpr uint64_t kFreeBytes = 4096;

  /// `file` is for messages; `bytes` are those that were read so far.
  explicit ReadBudget(std::filesystem::path file, uint64_t bytes = 0) : file_(std::move(file)) {
    add_bytes(kFreeBytes);
    add_bytes(bytes);
    bytes_ = bytes;
  }

  /// More bytes were read, each of them for the first time.
  void add_bytes(uint64_t bytes) {
    bytes_ += bytes;
    memory_left_ += kMemoryPerByte * bytes;
    steps_left_ += kStepsPerByte * bytes;
  }

  /// Bytes that will be allocated, for each copy that is made of them. `what` says what the file
  /// does, as in "lists more names than a model has". Throws TeacherError where too little is left.
  void charge_memory(uint64_t bytes, const char* what) {
    if (bytes > memory_left_) refuse(what, "memory", kMemoryPerByte, "bytes of memory");
    memory_left_ -= bytes;
  }

  /// Steps that will be taken. Throws as charge_memory does.
  void charge_work(uint64_t steps, const char* what) {
    if (steps > steps_left_) refuse(what, "work", kStepsPerByte, "steps");
    steps_left_ -= steps;
  }

  /// To copy, compare or check a text.
  void charge_text(uint64_t length, const char* what) { charge_work(1 + length / 64, what); }

  const std::filesystem::path& file() const noexcept { return file_; }

 private:
  [[noreturn]] void refuse(const char* what, const char* cost, uint64_t per_byte,
                           const char* unit) const {
    throw_teacher_error(file_, "",
                        std::string(what) + ", and so asks for more " + cost + " than the " +
                            std::to_string(bytes_) + " bytes that describe its tensors may (" +
                            std::to_string(per_byte) + " " + unit + " each): hostile",
                        "do not use the file, or save its tensors again, alone");
  }

  std::filesystem::path file_;
  uint64_t bytes_ = 0;
  uint64_t memory_left_ = 0;
  uint64_t steps_left_ = 0;
};

}  // namespace fakescore::detail
