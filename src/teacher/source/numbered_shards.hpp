#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fakescore::detail {

/// Files of one folder whose names say that they are the shards of one checkpoint.
struct NumberedShards {
  std::string name;                       ///< model-*-of-00003.safetensors
  std::string whole;                      ///< as ShardName has it
  uint64_t count = 0;                     ///< how many there should be
  std::map<uint64_t, std::string> files;  ///< those that are there, by number
  std::string second;                     ///< one whose number another has; empty for none

  bool is_complete() const;
  /// Why it is not: "1 of 3 are there, missing are model-00002-of-00003.safetensors, ...".
  std::string describe_fault() const;
};

/// The sets that these names form, in the order of their names.
std::vector<NumberedShards> find_numbered_shards(const std::vector<std::string>& names);

}  // namespace fakescore::detail
