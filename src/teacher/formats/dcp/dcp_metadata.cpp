#include "teacher/formats/dcp/dcp_metadata.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "error/utf8.hpp"
#include "teacher/file/file_numbers.hpp"
#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/dcp/dcp_fields.hpp"
#include "teacher/formats/dcp/key_choice.hpp"
#include "teacher/formats/torch_file/torch_globals.hpp"

namespace fakescore::detail {
namespace {

using Offsets = std::vector<int64_t>;

constexpr size_t kMaxNameBytes = 4096;
/// What a tensor, the place of a chunk and a chunk take, its boxes' corners and spare room
/// included, beside names and numbers.
constexpr uint64_t kTensorMemory = 1600;
constexpr uint64_t kTensorNameCopies = 8;
constexpr uint64_t kPlaceMemory = 160;
constexpr uint64_t kChunkMemory = 1200;
constexpr uint64_t kNumberMemory = 48;
/// To look a name up among others.
constexpr uint64_t kLookupSteps = 24;
constexpr const char* kManyChunks = "names more chunks than its bytes can hold";
constexpr const char* kManyTensors = "names more tensors than its bytes can hold";

/// Reads the pickled dataclasses into tensors.
class MetadataReader {
 public:
  MetadataReader(const PickleValue& metadata, ReadBudget& budget)
      : budget_(budget), fields_(budget), metadata_(metadata) {}

  ShardedCheckpoint read(const std::string& key) {
    read_places(dict_field("storage_data"));
    const std::string prefix = key_prefix(key);
    ShardedCheckpoint checkpoint;
    std::vector<std::string_view> names;
    for (const PicklePair& pair : dict_field("state_dict_metadata")) {
      budget_.charge_memory(kPlaceMemory, kManyTensors);
      const std::string_view name = name_of(pair.key);
      names.push_back(name);
      if (!is_tensor(pair.value)) continue;
      tensor_names_.push_back(name);
      if (name.starts_with(prefix)) checkpoint.tensors.push_back(read_tensor(name, pair.value));
    }
    refuse_repeated(names);
    check_key(key, tensor_names_, budget_.file());
    number_files(checkpoint);
    return checkpoint;
  }

 private:
  const PicklePairs& dict_field(std::string_view name) {
    const PickleObject& metadata = fields_.object(metadata_, kDcpMetadata, "");
    const PicklePairs* pairs = fields_.get(metadata, name, "").dict();
    if (pairs == nullptr) fields_.fail("", std::string(name) + " is not a dict");
    return *pairs;
  }

  std::string_view name_of(const PickleValue& value) {
    const auto name = value.text();
    if (!name || name->size() > kMaxNameBytes) {
      fields_.fail("", "has a tensor name that is not a text of at most " +
                           std::to_string(kMaxNameBytes) + " bytes");
    }
    budget_.charge_work(kLookupSteps * (1 + name->size() / 64), kManyTensors);
    return *name;
  }

  /// Notes the places of the tensors' chunks.
  void read_places(const PicklePairs& storage_data) {
    for (const PicklePair& pair : storage_data) {
      const PickleObject& index = fields_.object(pair.key, kDcpIndex, "");
      const std::string_view name = name_of(fields_.get(index, "fqn", ""));
      // Of something that is no tensor there is no offset: an attribute of the class, not pickled.
      const PickleValue* offset = fields_.find(index, "offset");
      if (offset == nullptr || offset->is_none()) continue;
      Offsets offsets = fields_.sizes(*offset, name);
      budget_.charge_memory(kPlaceMemory + kNumberMemory * offsets.size(), kManyChunks);
      if (!places_[name].emplace(std::move(offsets), &pair.value).second) {
        fields_.fail(name, "has two places for one chunk");
      }
    }
  }

  static bool is_tensor(const PickleValue& value) {
    const PickleObject* object = value.object();
    return object == nullptr || object->callable != kDcpBytes;
  }

  ShardedTensor read_tensor(std::string_view name, const PickleValue& value) {
    budget_.charge_memory(kTensorMemory + kTensorNameCopies * name.size(), kManyTensors);
    if (!is_valid_utf8(name)) fields_.fail(name, "its name is not UTF-8");
    const PickleObject& entry = fields_.object(value, kDcpTensor, name);
    ShardedTensor tensor;
    tensor.name = name;
    tensor.dtype = dtype(fields_.get(entry, "properties", name), name);
    tensor.sizes = fields_.sizes(fields_.get(entry, "size", name), name);
    budget_.charge_memory(kNumberMemory * tensor.sizes.size(), kManyTensors);
    const PickleItems* chunks = fields_.get(entry, "chunks", name).list();
    if (chunks == nullptr) fields_.fail(name, "its chunks are not a list");
    for (const PickleValue& chunk : *chunks) {
      Box box = read_box(chunk, name);
      if (!has_elements(box)) continue;
      const ChunkPlace place = place_of(name, box);
      tensor.chunks.push_back({std::move(box), place});
    }
    check_chunks(tensor, budget_.file());
    return tensor;
  }

  at::ScalarType dtype(const PickleValue& properties, std::string_view tensor) {
    const PickleObject& object = fields_.object(properties, kDcpProperties, tensor);
    const PickleItems* state = object.state.tuple();
    const PickleGlobal* global =
        state == nullptr || state->empty() ? nullptr : state->front().global();
    const auto found = global == nullptr ? std::nullopt : torch_dtype(global->name);
    if (!found) fields_.fail(tensor, "has no dtype");
    if (!is_readable_dtype(*found)) {
      fields_.fail(tensor, "has the dtype " + shown(global->name), "save it in another dtype");
    }
    return *found;
  }

  Box read_box(const PickleValue& value, std::string_view tensor) {
    const PickleObject& chunk = fields_.object(value, kDcpChunk, tensor);
    Box box{fields_.sizes(fields_.get(chunk, "offsets", tensor), tensor),
            fields_.sizes(fields_.get(chunk, "sizes", tensor), tensor)};
    budget_.charge_memory(kChunkMemory + kNumberMemory * (box.offsets.size() + box.sizes.size()),
                          kManyChunks);
    return box;
  }

  ChunkPlace place_of(std::string_view name, const Box& box) {
    budget_.charge_work(kLookupSteps * (1 + name.size() / 64 + box.offsets.size()), kManyChunks);
    const auto places = places_.find(name);
    if (places != places_.end()) {
      const auto place = places->second.find(box.offsets);
      if (place != places->second.end()) return read_place(*place->second, name);
    }
    fields_.fail(name, "has a chunk whose place storage_data does not give");
  }

  ChunkPlace read_place(const PickleValue& value, std::string_view tensor) {
    const PickleObject& info = fields_.object(value, kDcpStorageInfo, tensor);
    refuse_transforms(info, tensor);
    return {file_number(info, tensor), count(info, "offset", tensor),
            count(info, "length", tensor)};
  }

  void refuse_transforms(const PickleObject& info, std::string_view tensor) {
    const PickleValue* descriptors = fields_.find(info, "transform_descriptors");
    if (descriptors == nullptr || descriptors->is_none()) return;
    const PickleItems* list = descriptors->list();
    if (list != nullptr && list->empty()) return;
    const auto first = list == nullptr ? std::nullopt : list->front().text();
    fields_.fail(tensor, "was saved through the stream extension " + shown(first.value_or("")),
                 "save the checkpoint without _extensions");
  }

  size_t file_number(const PickleObject& info, std::string_view tensor) {
    const std::string_view name =
        fields_.get(info, "relative_path", tensor).text().value_or(std::string_view());
    budget_.charge_work(kLookupSteps, kManyChunks);
    if (!is_file_name(name)) {
      fields_.fail(
          tensor,
          "lies in " + shown(name) + ", which is not a file name of the checkpoint's own folder",
          "a checkpoint may only name files beside its .metadata");
    }
    return files_.number(name, budget_);
  }

  uint64_t count(const PickleObject& info, std::string_view name, std::string_view tensor) {
    const auto number = fields_.get(info, name, tensor).integer();
    if (!number || *number < 0) {
      fields_.fail(tensor, "the " + std::string(name) + " of its place is not a count");
    }
    return static_cast<uint64_t>(*number);
  }

  /// Of a key that is set twice, Python keeps the last value alone.
  void refuse_repeated(std::vector<std::string_view>& names) {
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) fields_.fail(*twice, "is in the file twice");
  }

  void number_files(ShardedCheckpoint& checkpoint) const {
    checkpoint.files = files_.paths(budget_.file().parent_path());
    const std::vector<size_t> places = files_.places();
    for (ShardedTensor& tensor : checkpoint.tensors) {
      for (TensorChunk& chunk : tensor.chunks) chunk.place.file = places[chunk.place.file];
    }
  }

  ReadBudget& budget_;
  DcpFields fields_;
  const PickleValue& metadata_;
  FileNumbers files_;
  std::vector<std::string_view> tensor_names_;
  /// By name and offsets, as DCP looks them up; the names live in the pickle.
  std::map<std::string_view, std::map<Offsets, const PickleValue*>> places_;
};

}  // namespace

bool allowed_in_dcp_metadata(std::string_view global) {
  static constexpr std::array<std::string_view, 15> kClasses{
      kDcpMetadata, kDcpTensor, kDcpBytes, kDcpChunk, kDcpProperties, kDcpIndex, kDcpStorageInfo,
      kDcpSize, "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING",
      "torch.distributed.checkpoint.metadata.StorageMeta", "torch.serialization._get_layout",
      // The folder that it was saved to, by Python up to 3.12, 3.13 and from 3.14, is a path.
      "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath",
      "pathlib._local.WindowsPath"};
  return std::find(kClasses.begin(), kClasses.end(), global) != kClasses.end() ||
         torch_dtype(global).has_value();
}

ShardedCheckpoint read_dcp_metadata(const PickleValue& metadata, const std::string& key,
                                    ReadBudget& budget) {
  return MetadataReader(metadata, budget).read(key);
}

}  // namespace fakescore::detail
