#include "teacher/source/open_distributed.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "teacher/file/foreign_file.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/dcp/dcp_metadata.hpp"
#include "teacher/formats/dcp/key_choice.hpp"
#include "teacher/formats/dcp/sharded_safetensors.hpp"
#include "teacher/formats/dcp/sharded_teacher.hpp"
#include "teacher/formats/file_format.hpp"
#include "teacher/formats/pickle/read_pickle.hpp"
#include "teacher/source/folder_listing.hpp"
#include "teacher/source/weight_names.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShards = "shard-*.safetensors";

ShardedCheckpoint read_metadata_file(const fs::path& path, const std::string& key) {
  auto file = MappedFile::open(path);
  refuse_stand_in(*file);
  const std::span<const std::byte> bytes = file->bytes();
  ReadBudget budget(path, bytes.size());
  const Pickle pickle =
      read_pickle(bytes, allowed_in_dcp_metadata, ForeignGlobals::kRefuse, budget);
  ShardedCheckpoint checkpoint = read_dcp_metadata(pickle.root, key, budget);
  checkpoint.header = digest_bytes(bytes.data(), bytes.size());
  checkpoint.index = std::move(file);
  return checkpoint;
}

/// Weights beside it are another checkpoint, but for those of torch.save under names that no loader
/// of models looks for: Lightning and Megatron put what they keep beside the weights there.
bool is_checkpoint_of_its_own(const fs::path& file) {
  const std::string name = file.filename().string();
  if (is_index_name(name) || has_own_suffix(name)) return true;
  const auto usual_name = [&](WeightsLibrary library) {
    const auto names = library_names(library, "");
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  return std::any_of(kWeightsLibraries.begin(), kWeightsLibraries.end(), usual_name);
}

/// What was taken of a folder; no loader has a rule for one that holds both.
TeacherChoice choose_beside_others(const fs::path& folder, const ShardedCheckpoint& checkpoint) {
  std::set<std::string> used;
  for (const fs::path& file : checkpoint.files) used.insert(file.filename().string());
  const fs::path own = folder / (checkpoint.index ? kDistributedMetadata : kShards);
  TeacherChoice choice{own.string(), paths_passed_over(list_folder(folder), used)};
  for (const std::string& other : choice.passed_over) {
    if (!is_checkpoint_of_its_own(other)) continue;
    throw_teacher_error(
        folder, "",
        "holds a distributed checkpoint (" + own.filename().string() +
            ") and another one beside it (" + fs::path(other).filename().string() + ")",
        checkpoint.index ? "give the path of the one that is meant: " +
                               teacher_option(own.string()) + " or " + teacher_option(other)
                         : "give the path of that one, " + teacher_option(other) +
                               ", or put the shards into a folder of their own");
  }
  return choice;
}

}  // namespace

bool is_distributed_checkpoint(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at is no such checkpoint
  if (!fs::is_directory(path, ignored)) {
    return path.filename() == kDistributedMetadata || path.extension() == kDistributedData;
  }
  return fs::exists(path / kDistributedMetadata, ignored) || !find_safetensors_shards(path).empty();
}

std::unique_ptr<Teacher> open_distributed_checkpoint(const fs::path& path, const std::string& key) {
  if (path.extension() == kDistributedData) {
    throw_teacher_error(path, "", "is one rank's file of a distributed checkpoint",
                        "give the folder that holds it");
  }
  std::error_code ignored;
  const fs::path metadata =
      path.filename() == kDistributedMetadata ? path : path / kDistributedMetadata;
  ShardedCheckpoint checkpoint =
      fs::exists(metadata, ignored)
          ? read_metadata_file(metadata, key)
          : read_safetensors_shards(find_safetensors_shards(path), key, path);
  checkpoint.prefix_bytes = key_prefix(key).size();
  checkpoint.choice = fs::is_directory(path, ignored) ? choose_beside_others(path, checkpoint)
                                                      : TeacherChoice{path.string()};
  return make_sharded_teacher(std::move(checkpoint));
}

}  // namespace fakescore::detail
