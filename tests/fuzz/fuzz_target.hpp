#pragma once

#include <cstddef>
#include <random>
#include <span>
#include <string>
#include <string_view>

namespace fakescore::fuzz {

using Random = std::minstd_rand;

/// A reader of untrusted bytes.
struct FuzzTarget {
  std::string_view name;
  /// Reads the input. What it throws but a TeacherError is a finding.
  void (*read)(const std::string& input);
  /// Changes an input of at most `max` bytes into another that readers get far with.
  std::string (*mutate)(const std::string& input, Random& random, size_t max);
};

std::span<const FuzzTarget> fuzz_targets();

/// libFuzzer's own mutation of bytes, at most `max` of them.
std::string mutate_bytes(std::string bytes, size_t max);

/// A safetensors file: its header is changed, and the length before it set right.
std::string mutate_safetensors(const std::string& file, Random& random, size_t max);
/// A pickle, opcode by opcode.
std::string mutate_pickle(const std::string& pickle, Random& random, size_t max);
/// An archive of torch.save: one of its records is changed, the pickle most often, and the archive
/// written anew with the right sizes, offsets and checksums.
std::string mutate_archive(const std::string& archive, Random& random, size_t max);
/// Whichever of these it is, by what it begins with.
std::string mutate_file(const std::string& file, Random& random, size_t max);
/// A folder's files in one input: see folder_input.hpp.
std::string mutate_folder(const std::string& folder, Random& random, size_t max);

}  // namespace fakescore::fuzz
