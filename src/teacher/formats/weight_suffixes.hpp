#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

// What the program needs to know as well, which sees no function of the library that is hidden.

namespace fakescore::detail {

using Suffixes = std::span<const char* const>;

/// How names of files end that hold tensors, by format.
inline constexpr std::array kSafetensorsSuffixes{".safetensors"};
inline constexpr std::array kTorchSuffixes{".bin", ".pt", ".pth", ".ckpt", ".jit"};
/// Those of file_formats(), in its order.
inline constexpr std::array kFormatSuffixes{Suffixes(kSafetensorsSuffixes),
                                            Suffixes(kTorchSuffixes)};

/// The files of a distributed checkpoint: what says which chunks lie in which files, and these.
inline constexpr const char* kDistributedMetadata = ".metadata";
inline constexpr const char* kDistributedData = ".distcp";

constexpr bool ends_with_any(std::string_view name, Suffixes suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](const char* suffix) { return name.ends_with(suffix); });
}

/// Whether a name ends as one of a file that holds tensors, of any format.
constexpr bool ends_as_weights(std::string_view name) {
  return std::any_of(kFormatSuffixes.begin(), kFormatSuffixes.end(),
                     [&](Suffixes suffixes) { return ends_with_any(name, suffixes); });
}

}  // namespace fakescore::detail
