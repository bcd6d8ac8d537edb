#include <algorithm>

#include "teacher/formats/checkpoint_file.hpp"
#include "teacher/formats/torch_file/state_dict.hpp"

namespace fakescore::detail {

CheckpointFile open_torch_file(const std::shared_ptr<const MappedFile>& file,
                               const std::string& key) {
  const TorchArchive archive(file->bytes(), file->path(), ForeignGlobals::kKeep);
  CheckpointFile opened;
  opened.header = archive.digest();
  opened.tensors = list_state_dict(archive, key);
  std::sort(opened.tensors.begin(), opened.tensors.end(), lies_before);
  return opened;
}

}  // namespace fakescore::detail
