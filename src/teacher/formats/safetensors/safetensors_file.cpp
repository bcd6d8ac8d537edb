#include "teacher/formats/checkpoint_file.hpp"
#include "teacher/formats/dcp/sharded_safetensors.hpp"
#include "teacher/formats/safetensors/safetensors_header.hpp"

namespace fakescore::detail {

CheckpointFile open_safetensors_file(const std::shared_ptr<const MappedFile>& file) {
  SafetensorsHeader header = parse_safetensors_header(file->bytes(), file->path());
  refuse_shard(header, file->path());
  CheckpointFile opened;
  opened.metadata = std::move(header.metadata);
  opened.header = digest_bytes(file->bytes().data(), header.bytes);
  opened.tensors = std::move(header.tensors);
  return opened;
}

}  // namespace fakescore::detail
