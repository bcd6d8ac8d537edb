#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace fakescore::detail {

/// Whether a file's name is that of an index of shards: model.safetensors.index.json.
bool is_index_name(const std::string& name);
/// Whether it is that, or one of a file that holds tensors.
bool is_weights_name(const std::string& name);

/// Whose names weights may have; each looks for its own and no others.
enum class WeightsLibrary { kDiffusers, kTransformers };
inline constexpr std::array kWeightsLibraries{WeightsLibrary::kDiffusers,
                                              WeightsLibrary::kTransformers};

/// The names that a library gives to one model's weights, in the order in which its from_pretrained
/// looks for them: that of diffusers 0.31 to 0.42 (ModelMixin) takes an index before the file that
/// holds all, that of transformers 4.46 to 5.24 the file; both take safetensors before .bin.
std::vector<std::string> library_names(WeightsLibrary library, const std::string& variant);

/// Of files, the variants of the names that the libraries use.
std::set<std::string> variants_in(const std::vector<std::string>& names);

/// A file's name taken apart that says which of how many shards it is.
struct ShardName {
  std::string set;    ///< what all shards share: model-*-of-00003.safetensors
  std::string whole;  ///< what one file of all of them would be called: model.safetensors
  uint64_t number = 0;
  uint64_t count = 0;
};

/// Of model-00001-of-00003.safetensors and model-00001-of-00003.fp16.bin; nullopt for other names.
std::optional<ShardName> parse_shard_name(const std::string& name);

/// "--teacher 'PATH'": how the program is given a path that a folder leaves open, as a shell takes
/// it.
std::string teacher_option(const std::string& path);

}  // namespace fakescore::detail
