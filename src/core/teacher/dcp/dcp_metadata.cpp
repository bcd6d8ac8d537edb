#include "core/teacher/dcp/dcp_metadata.hpp"

#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "core/teacher/dcp/key_choice.hpp"
#include "core/teacher/file_text.hpp"
#include "core/teacher/teacher_error.hpp"
#include "core/teacher/torch_file/torch_globals.hpp"

namespace fakescore::detail {
namespace {

constexpr std::string_view kMetadataModule = "torch.distributed.checkpoint.metadata.";
constexpr std::string_view kStorageInfo = "torch.distributed.checkpoint.filesystem._StorageInfo";
constexpr size_t kMaxNameBytes = 4096;
constexpr size_t kMaxFields = 64;      // of a dataclass; a pickle may name one object many times
constexpr size_t kMaxDimensions = 64;  // what LibTorch's kernels take
/// What is read of a pickle may take this many bytes for each of its own; DCP's take fewer than
/// four.
constexpr size_t kBytesPerPickleByte = 16;
constexpr size_t kEntryBytes = 100;

std::string metadata_class(std::string_view name) {
  return std::string(kMetadataModule).append(name);
}

/// Reads the pickled dataclasses. Each of them is an object whose state maps its fields' names.
class MetadataReader {
 public:
  MetadataReader(const std::filesystem::path& file, size_t pickle_bytes)
      : file_(file), bytes_left_(kBytesPerPickleByte * pickle_bytes) {}

  const PicklePairs& dict_field(const PickleValue& metadata, const char* name) {
    const PickleValue& value = field(object(metadata, metadata_class("Metadata"), ""), name, "");
    const auto* dict = value.as<PickleDict>();
    if (dict == nullptr) fail("", std::string(name) + " is not a dict");
    return *dict->pairs;
  }

  const std::string& name_of(const PickleValue& value) const {
    const auto* name = value.as<std::string>();
    if (name == nullptr || name->size() > kMaxNameBytes) {
      fail("", "names a tensor by something else than a text of at most " +
                   std::to_string(kMaxNameBytes) + " bytes");
    }
    if (!is_utf8(*name)) throw_teacher_error(file_, shown(*name), "its name is not UTF-8");
    return *name;
  }

  /// Fills in the places of the tensors' chunks from `storage_data`.
  void read_places(const PicklePairs& storage_data) {
    for (const auto& [key, value] : storage_data) {
      const PickleObject& index = object(key, metadata_class("MetadataIndex"), "");
      const std::string& name = name_of(field(index, "fqn", ""));
      // Of something that is no tensor there is no offset: an attribute of the class, not pickled.
      const PickleValue* offset = find(index, "offset");
      if (offset == nullptr || offset->is_none()) continue;
      std::vector<int64_t> offsets = sizes(*offset, name);
      spend(offsets.size(), name);
      places_.emplace(std::pair{std::string_view(name), std::move(offsets)}, &value);
    }
  }

  static bool is_tensor(const PickleValue& value) {
    const auto* reduced = value.as<PickleReduced>();
    return reduced == nullptr ||
           reduced->object->callable != metadata_class("BytesStorageMetadata");
  }

  ShardedTensor read_tensor(const std::string& name, const PickleValue& value) {
    const PickleObject& entry = object(value, metadata_class("TensorStorageMetadata"), name);
    ShardedTensor tensor;
    tensor.name = name;
    tensor.dtype = dtype(field(entry, "properties", name), name);
    tensor.sizes = sizes(field(entry, "size", name), name);
    spend(tensor.sizes.size(), name);
    const auto* chunks = field(entry, "chunks", name).as<PickleList>();
    if (chunks == nullptr) fail(name, "its chunks are not a list");
    for (const PickleValue& chunk : *chunks->items) {
      const Box box = read_box(chunk, name);
      spend(box.offsets.size() + box.sizes.size(), name);
      if (has_elements(box)) tensor.chunks.push_back({box, place(name, box)});
    }
    check_chunks(tensor, file_);
    return tensor;
  }

 private:
  /// An object that a pickle names many times is read as often.
  void spend(size_t numbers, const std::string& tensor) {
    const size_t bytes = kEntryBytes + numbers * sizeof(int64_t);
    if (bytes > bytes_left_) fail(tensor, "names more chunks than its bytes can hold");
    bytes_left_ -= bytes;
  }

  [[noreturn]] void fail(const std::string& tensor, const std::string& message) const {
    throw_teacher_error(file_, tensor, message);
  }

  const PickleObject& object(const PickleValue& value, std::string_view callable,
                             const std::string& tensor) const {
    const auto* reduced = value.as<PickleReduced>();
    if (reduced == nullptr || reduced->object->callable != callable) {
      fail(tensor, "has something else where a " + std::string(callable) + " belongs");
    }
    return *reduced->object;
  }

  static const PickleValue* find(const PickleObject& object, std::string_view name) {
    const auto* state = object.state.as<PickleDict>();
    if (state == nullptr || state->pairs->size() > kMaxFields) return nullptr;
    for (const auto& [key, value] : *state->pairs) {
      const auto* text = key.as<std::string>();
      if (text != nullptr && *text == name) return &value;
    }
    return nullptr;
  }

  const PickleValue& field(const PickleObject& object, const char* name,
                           const std::string& tensor) const {
    const PickleValue* value = find(object, name);
    if (value == nullptr) fail(tensor, "a " + object.callable + " has no field " + name);
    return *value;
  }

  std::vector<int64_t> sizes(const PickleValue& value, const std::string& tensor) const {
    const PickleObject& size = object(value, "torch.Size", tensor);
    const auto* items = size.arguments.size() == 1 ? size.arguments[0].as<PickleTuple>() : nullptr;
    if (items == nullptr || items->items->size() > kMaxDimensions) {
      fail(tensor,
           "a size is not a tuple of at most " + std::to_string(kMaxDimensions) + " numbers");
    }
    std::vector<int64_t> result;
    for (const PickleValue& item : *items->items) {
      const auto* number = item.as<int64_t>();
      if (number == nullptr || *number < 0) fail(tensor, "a size is not a count");
      result.push_back(*number);
    }
    return result;
  }

  at::ScalarType dtype(const PickleValue& properties, const std::string& tensor) const {
    const PickleObject& object_ = object(properties, metadata_class("TensorProperties"), tensor);
    const auto* state = object_.state.as<PickleTuple>();
    const PickleGlobal* global = nullptr;
    if (state != nullptr && !state->items->empty()) global = (*state->items)[0].as<PickleGlobal>();
    const auto found = global == nullptr ? std::nullopt : torch_dtype(global->name);
    if (!found) fail(tensor, "has no dtype");
    if (!is_readable_dtype(*found)) {
      throw_teacher_error(file_, tensor, "has the dtype " + shown(global->name),
                          "save it in another dtype");
    }
    return *found;
  }

  Box read_box(const PickleValue& value, const std::string& tensor) const {
    const PickleObject& chunk = object(value, metadata_class("ChunkStorageMetadata"), tensor);
    return {sizes(field(chunk, "offsets", tensor), tensor),
            sizes(field(chunk, "sizes", tensor), tensor)};
  }

  ChunkPlace place(const std::string& name, const Box& box) const {
    const auto found = places_.find({name, box.offsets});
    if (found == places_.end()) fail(name, "has a chunk of which storage_data says no place");
    const PickleObject& info = object(*found->second, kStorageInfo, name);
    refuse_transforms(info, name);
    return {file_.parent_path() / file_name(info, name), count(info, "offset", name),
            count(info, "length", name)};
  }

  void refuse_transforms(const PickleObject& info, const std::string& tensor) const {
    const PickleValue* descriptors = find(info, "transform_descriptors");
    if (descriptors == nullptr || descriptors->is_none()) return;
    std::string names;
    if (const auto* list = descriptors->as<PickleList>()) {
      if (list->items->empty()) return;
      const auto* first = list->items->front().as<std::string>();
      if (first != nullptr) names = first->substr(0, 100);
    }
    throw_teacher_error(file_, tensor, "was saved through the stream extension " + names,
                        "save the checkpoint without _extensions");
  }

  std::string file_name(const PickleObject& info, const std::string& tensor) const {
    const auto* text = field(info, "relative_path", tensor).as<std::string>();
    const std::filesystem::path name = text == nullptr ? "" : *text;
    if (name.empty() || name != name.filename() || name == "." || name == "..") {
      throw_teacher_error(file_, tensor,
                          "lies in " + name.string().substr(0, 200) +
                              ", which is not a file name of the checkpoint's own folder",
                          "a checkpoint may only name files beside its .metadata");
    }
    return name.string();
  }

  uint64_t count(const PickleObject& info, const char* name, const std::string& tensor) const {
    const auto* number = field(info, name, tensor).as<int64_t>();
    if (number == nullptr || *number < 0) {
      fail(tensor, std::string("the ") + name + " of its place is not a count");
    }
    return static_cast<uint64_t>(*number);
  }

  const std::filesystem::path& file_;
  size_t bytes_left_;
  /// By name and offsets, as DCP looks them up; the names live in the pickle.
  std::map<std::pair<std::string_view, std::vector<int64_t>>, const PickleValue*> places_;
};

}  // namespace

bool allowed_in_dcp_metadata(const std::string& global) {
  static constexpr std::array<std::string_view, 8> kMetadataClasses{
      "Metadata",         "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
      "TensorProperties", "_MEM_FORMAT_ENCODING",  "MetadataIndex",        "StorageMeta"};
  for (const std::string_view name : kMetadataClasses) {
    if (global == metadata_class(name)) return true;
  }
  // The folder that it was saved to, by Python up to 3.12, 3.13 and from 3.14, is a path.
  static constexpr std::array<std::string_view, 7> kOthers{kStorageInfo,
                                                           "torch.Size",
                                                           "torch.serialization._get_layout",
                                                           "pathlib.PosixPath",
                                                           "pathlib.WindowsPath",
                                                           "pathlib._local.PosixPath",
                                                           "pathlib._local.WindowsPath"};
  for (const std::string_view name : kOthers) {
    if (global == name) return true;
  }
  return torch_dtype(global).has_value();
}

std::vector<ShardedTensor> read_dcp_metadata(const PickleValue& metadata, const std::string& key,
                                             size_t pickle_bytes,
                                             const std::filesystem::path& file) {
  MetadataReader reader(file, pickle_bytes);
  reader.read_places(reader.dict_field(metadata, "storage_data"));
  const std::string prefix = key_prefix(key);
  std::vector<ShardedTensor> tensors;
  std::vector<std::string_view> names;
  std::unordered_set<std::string_view> seen;
  for (const auto& [name_value, entry] : reader.dict_field(metadata, "state_dict_metadata")) {
    const std::string& name = reader.name_of(name_value);
    if (!seen.insert(name).second) throw_teacher_error(file, name, "is in the file twice");
    if (!reader.is_tensor(entry)) continue;
    names.push_back(name);
    if (name.starts_with(prefix)) tensors.push_back(reader.read_tensor(name, entry));
  }
  check_key(key, names, file);
  return tensors;
}

}  // namespace fakescore::detail
