#include <algorithm>
#include <tuple>
#include <utility>

#include "teacher/formats/checkpoint_file.hpp"
#include "teacher/formats/torch_file/state_dict.hpp"
#include "tensor/row_major.hpp"

namespace fakescore::detail {
namespace {

bool has_row_major_bytes(const TorchTensor& tensor) {
  return !tensor.conjugate && !tensor.negative && tensor.strides == row_major_strides(tensor.sizes);
}

}  // namespace

CheckpointFile open_torch_file(const std::shared_ptr<const MappedFile>& file,
                               const std::string& key) {
  const TorchArchive archive({file->data(), file->size()}, file, file->path(),
                             ForeignGlobals::kKeep);
  CheckpointFile opened;
  opened.header = archive.digest();
  for (StateDictTensor& entry : list_state_dict(archive, key)) {
    const TorchTensor& tensor = entry.tensor;
    const size_t offset =
        tensor.memory.empty() ? 0 : static_cast<size_t>(tensor.memory.data() - file->data());
    opened.tensors.push_back({std::move(entry.name), tensor.sizes, tensor.dtype, offset,
                              has_row_major_bytes(tensor),
                              [file, tensor] { return read_torch_tensor(tensor, file); }});
  }
  std::sort(opened.tensors.begin(), opened.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.offset, a.name) < std::tie(b.offset, b.name);
  });
  return opened;
}

}  // namespace fakescore::detail
