#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "teacher/formats/safetensors/safetensors_header.hpp"

namespace fakescore::detail {

/// The header key under which torch.distributed.checkpoint notes where the tensors of a safetensors
/// file begin in the whole ones.
inline constexpr const char* kShardingInfoKey = "DCP_SHARDING_INFO";

/// Where each tensor of such a file begins, by name, from the value of that key:
/// {"NAME": {"saved_offsets": [ROW, ...]}}. Throws TeacherError naming the file.
std::map<std::string, std::vector<int64_t>> parse_sharding_info(const std::string& json,
                                                                const std::filesystem::path& file);

/// Whether this is a file that HuggingFaceStorageWriter(save_distributed=True) names as one rank's
/// share: shard-00001-model-00001-of-00001.safetensors.
bool is_safetensors_shard(const std::filesystem::path& file);

/// Throws TeacherError where the file is such a share: read as a file of its own, it would give
/// parts of tensors as if they were the tensors.
void refuse_shard(const SafetensorsHeader& header, const std::filesystem::path& file);

}  // namespace fakescore::detail
