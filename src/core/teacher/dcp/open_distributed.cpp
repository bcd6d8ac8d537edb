#include "core/teacher/dcp/open_distributed.hpp"

#include <utility>

#include "core/teacher/dcp/dcp_metadata.hpp"
#include "core/teacher/dcp/key_choice.hpp"
#include "core/teacher/dcp/sharded_safetensors.hpp"
#include "core/teacher/dcp/sharded_teacher.hpp"
#include "core/teacher/pickle/read_pickle.hpp"
#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMetadataFile = ".metadata";
constexpr const char* kDataSuffix = ".distcp";

ShardedCheckpoint read_metadata_file(const fs::path& path, const std::string& key) {
  auto file = MappedFile::open(path);
  const std::span<const std::byte> bytes{file->data(), file->size()};
  ReadBudget budget(path, bytes.size());
  const Pickle pickle =
      read_pickle(bytes, allowed_in_dcp_metadata, ForeignGlobals::kRefuse, budget);
  ShardedCheckpoint checkpoint = read_dcp_metadata(pickle.root, key, budget);
  checkpoint.header = digest_bytes(bytes.data(), bytes.size());
  checkpoint.index = std::move(file);
  return checkpoint;
}

}  // namespace

bool is_distributed_checkpoint(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at is no such checkpoint
  if (!fs::is_directory(path, ignored)) {
    return path.filename() == kMetadataFile || path.extension() == kDataSuffix;
  }
  return fs::exists(path / kMetadataFile, ignored) || !find_safetensors_shards(path).empty();
}

std::unique_ptr<Teacher> open_distributed_checkpoint(const fs::path& path, const std::string& key) {
  if (path.extension() == kDataSuffix) {
    throw_teacher_error(path, "", "is one rank's file of a distributed checkpoint",
                        "give the folder that holds it");
  }
  std::error_code ignored;
  const fs::path metadata = path.filename() == kMetadataFile ? path : path / kMetadataFile;
  ShardedCheckpoint checkpoint =
      fs::exists(metadata, ignored)
          ? read_metadata_file(metadata, key)
          : read_safetensors_shards(find_safetensors_shards(path), key, path);
  checkpoint.prefix_bytes = key_prefix(key).size();
  return make_sharded_teacher(std::move(checkpoint));
}

}  // namespace fakescore::detail
