#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>
#include <string>
#include <vector>

#include "fakescore/error.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/error_of.hpp"
#include "support/temp_folder.hpp"

namespace fakescore::testing {

/// A folder of files that are told apart by what they hold.
class CheckpointFolderFixture : public ::testing::Test {
 protected:
  /// A file whose one tensor is named as the file.
  void put(const std::string& name) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    save_safetensors(folder_ / name, {{name, torch::ones(1)}});
  }
  void put_index(const std::string& name, const std::string& shard) {
    put_index(name, std::vector<std::string>{shard});
  }
  void put_index(const std::string& name, const std::vector<std::string>& shards) {
    std::string map;
    for (const std::string& shard : shards) {
      map += (map.empty() ? "\"" : ",\"") + shard + "\":\"" + shard + "\"";
    }
    std::ofstream(folder_ / name) << R"({"metadata":{},"weight_map":{)" << map << "}}";
  }
  void put_config(const std::string& json) { std::ofstream(folder_ / "config.json") << json; }
  void put_link(const std::string& name) {
    std::filesystem::create_symlink("../blobs/of-" + name, folder_ / name);
  }

  /// The name of the first tensor that is found, or the error.
  std::string found(const std::string& variant = "", const std::string& subfolder = "") {
    std::string name;
    const std::string error = error_of<TeacherError>([&] {
      const auto teacher = TeacherSource::path(folder_.path(), {"", variant, subfolder}).open();
      name = teacher->tensors().at(0).name;
    });
    return error == "no error" ? name : error;
  }
  std::string name_in_folder(const std::filesystem::path& path) {
    return path.lexically_relative(folder_.path()).string();
  }
  /// The choice's parts as names in the folder.
  std::string taken(const std::string& variant = "") {
    return name_in_folder(
        TeacherSource::path(folder_.path(), {"", variant, ""}).open()->choice().taken);
  }
  std::vector<std::string> passed_over(const std::string& variant = "") {
    std::vector<std::string> names;
    const auto teacher = TeacherSource::path(folder_.path(), {"", variant, ""}).open();
    for (const std::string& path : teacher->choice().passed_over) {
      names.push_back(name_in_folder(path));
    }
    return names;
  }

  TempFolder folder_;
};

}  // namespace fakescore::testing
