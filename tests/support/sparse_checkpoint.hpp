#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace fakescore::testing {

/// A published model's checkpoint of its true size, whose values are holes in the file.
struct SparseCheckpoint {
  struct Entry {
    std::string name;
    std::vector<int64_t> sizes;
    bool is_float = false;  ///< float32, else bfloat16
    uint64_t bytes() const {
      uint64_t bytes = is_float ? 4 : 2;
      for (const int64_t size : sizes) bytes *= static_cast<uint64_t>(size);
      return bytes;
    }
  };

  std::vector<Entry> entries;  ///< in the file's order
  uint64_t tensor_bytes = 0;
  uint64_t file_bytes = 0;

  /// Writes what a manifest of tests/data/manifests describes, as diffusers saves the model in
  /// bfloat16: float32 first, with the parameters that it keeps so and persistent buffers.
  static SparseCheckpoint write(const std::filesystem::path& manifest,
                                const std::filesystem::path& file) {
    const auto model = nlohmann::json::parse(std::ifstream(manifest));
    const auto in_float = model.at("fp32_parameters").get<std::set<std::string>>();
    SparseCheckpoint checkpoint;
    for (const auto& parameter : model.at("parameters")) {
      const auto name = parameter.at(0).get<std::string>();
      checkpoint.entries.push_back(
          {name, parameter.at(1).get<std::vector<int64_t>>(), in_float.contains(name)});
    }
    for (const auto& buffer : model.at("buffers")) {
      if (buffer.at(2) != "float32") throw std::runtime_error("a buffer of another dtype");
      if (!buffer.at(3).get<bool>()) continue;
      checkpoint.entries.push_back(
          {buffer.at(0).get<std::string>(), buffer.at(1).get<std::vector<int64_t>>(), true});
    }
    std::stable_partition(checkpoint.entries.begin(), checkpoint.entries.end(),
                          [](const Entry& entry) { return entry.is_float; });
    checkpoint.write_file(file);
    return checkpoint;
  }

 private:
  void write_file(const std::filesystem::path& path) {
    nlohmann::ordered_json json;
    for (const Entry& entry : entries) {
      const uint64_t end = tensor_bytes + entry.bytes();
      json[entry.name] = {{"dtype", entry.is_float ? "F32" : "BF16"},
                          {"shape", entry.sizes},
                          {"data_offsets", {tensor_bytes, end}}};
      tensor_bytes = end;
    }
    std::string header = json.dump();
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const uint64_t length = header.size();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&length), sizeof(length)) << header;
    file.close();
    file_bytes = sizeof(length) + length + tensor_bytes;
    std::filesystem::resize_file(path, file_bytes);
  }
};

}  // namespace fakescore::testing
