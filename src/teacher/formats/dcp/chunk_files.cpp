#include "teacher/formats/dcp/chunk_files.hpp"

#include <span>
#include <utility>

#include "teacher/file/foreign_file.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/safetensors/safetensors_header.hpp"
#include "teacher/formats/safetensors/sharding_info.hpp"
#include "teacher/formats/torch_file/torch_archive.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kWholeSave = "copy the checkpoint again, every rank's files of one save";

void check_agreement(const StoredTensor& found, const ShardedTensor& tensor,
                     const TensorChunk& chunk, const std::filesystem::path& file) {
  if (found.dtype != tensor.dtype || found.sizes != chunk.box.sizes) {
    throw_teacher_error(file, tensor.name,
                        "holds another dtype or shape than the checkpoint's metadata says",
                        kWholeSave);
  }
}

}  // namespace

ChunkFiles::ChunkFiles(const std::vector<std::filesystem::path>& files) {
  files_.reserve(files.size());
  for (const auto& path : files) files_.push_back({path, nullptr, 0});
}

void ChunkFiles::add(const ShardedTensor& tensor) {
  for (const TensorChunk& chunk : tensor.chunks) {
    const ChunkPlace& place = chunk.place;
    File& file = files_.at(place.file);
    if (file.mapping == nullptr) file.mapping = MappedFile::open(file.path);
    const uint64_t size = file.mapping->size();
    if (place.offset > size || place.length > size - place.offset) {
      refuse_stand_in(*file.mapping);
      throw_teacher_error(file.path, tensor.name,
                          "is truncated: it has " + std::to_string(size) +
                              " bytes and a chunk should end at byte " +
                              std::to_string(place.offset + place.length),
                          kWholeSave);
    }
    // Chunks share no bytes, so that a tensor made of them is never larger than its files.
    if (place.length > size - file.claimed) {
      throw_teacher_error(file.path, tensor.name, "chunks share the bytes of the file");
    }
    file.claimed += place.length;
  }
}

StoredTensor ChunkFiles::find(const ShardedTensor& tensor, const TensorChunk& chunk) {
  const MappedFile& file = *files_.at(chunk.place.file).mapping;
  const auto bytes = file.bytes().subspan(chunk.place.offset);
  try {
    StoredTensor found =
        is_zip_archive(bytes) ? find_in_archive(tensor, chunk) : find_in_safetensors(tensor, chunk);
    check_agreement(found, tensor, chunk, file.path());
    return found;
  } catch (const TeacherError& error) {
    // The readers of the items know nothing of the tensor that they are read for.
    const ErrorInfo& info = error.info();
    throw_teacher_error(
        file.path(), tensor.name,
        "its chunk at byte " + std::to_string(chunk.place.offset) + " " + info.message,
        info.remedy);
  }
}

StoredTensor ChunkFiles::find_in_archive(const ShardedTensor& tensor,
                                         const TensorChunk& chunk) const {
  const ChunkPlace& place = chunk.place;
  const auto& file = files_.at(place.file).mapping;
  const TorchArchive archive(file->bytes().subspan(place.offset, place.length), file->path());
  auto found = archive.find(archive.object(), tensor.name);
  if (!found) throw_teacher_error(file->path(), tensor.name, "is no tensor", kWholeSave);
  return *std::move(found);
}

StoredTensor ChunkFiles::find_in_safetensors(const ShardedTensor& tensor,
                                             const TensorChunk& chunk) {
  const ChunkPlace& place = chunk.place;
  const SafetensorsItem& item = safetensors_item(place);
  const auto found = item.tensors.find(tensor.name);
  const auto offsets = item.offsets.find(tensor.name);
  if (found == item.tensors.end() || offsets == item.offsets.end() ||
      offsets->second != chunk.box.offsets) {
    throw_teacher_error(files_.at(place.file).path, tensor.name, "is not in that safetensors file",
                        kWholeSave);
  }
  return found->second;
}

const ChunkFiles::SafetensorsItem& ChunkFiles::safetensors_item(const ChunkPlace& place) {
  const std::pair key{place.file, place.offset};
  if (const auto known = safetensors_.find(key); known != safetensors_.end()) return known->second;
  const MappedFile& file = *files_.at(place.file).mapping;
  auto header = parse_safetensors_header(file.bytes().subspan(place.offset), file.path());
  SafetensorsItem item;
  item.offsets = parse_sharding_info(header.metadata[kShardingInfoKey], file.path());
  for (StoredTensor& stored : header.tensors) {
    item.tensors.emplace(stored.name, std::move(stored));
  }
  return safetensors_.emplace(key, std::move(item)).first->second;
}

std::vector<std::shared_ptr<const MappedFile>> ChunkFiles::mappings() const {
  std::vector<std::shared_ptr<const MappedFile>> mappings;
  for (const File& file : files_) {
    if (file.mapping != nullptr) mappings.push_back(file.mapping);
  }
  return mappings;
}

}  // namespace fakescore::detail
