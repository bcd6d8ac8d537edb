#include "teacher/formats/checkpoint_file.hpp"
#include "teacher/formats/dcp/sharded_safetensors.hpp"
#include "teacher/formats/safetensors/safetensors_header.hpp"
#include "teacher/formats/safetensors/safetensors_tensor.hpp"

namespace fakescore::detail {

CheckpointFile open_safetensors_file(const std::shared_ptr<const MappedFile>& file) {
  SafetensorsHeader header = parse_safetensors_header({file->data(), file->size()}, file->path());
  refuse_shard(header, file->path());
  CheckpointFile opened;
  opened.metadata = std::move(header.metadata);
  opened.header = digest_bytes(file->data(), header.bytes);
  for (const SafetensorsEntry& entry : header.entries) {
    opened.tensors.push_back(
        {entry.name, entry.sizes, entry.dtype, entry.begin, true,
         [file, entry] { return read_torch_tensor(stored_tensor(entry, file->data()), file); }});
  }
  return opened;
}

}  // namespace fakescore::detail
