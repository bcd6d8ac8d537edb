#include "core/teacher/safetensors_teacher.hpp"

#include <ATen/ops/from_blob.h>

#include <map>
#include <utility>

#include "core/teacher/dcp/sharded_safetensors.hpp"
#include "core/teacher/mapped_file.hpp"
#include "core/teacher/safetensors_folder.hpp"
#include "core/teacher/safetensors_header.hpp"
#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

class SafetensorsTeacher : public Teacher {
 public:
  void add_file(const std::filesystem::path& path, const SafetensorsFiles& found) {
    const auto file = MappedFile::open(path);
    const auto header = parse_safetensors_header({file->data(), file->size()}, path);
    refuse_shard(header, path);
    metadata_.insert(header.metadata.begin(), header.metadata.end());
    for (const SafetensorsEntry& entry : header.entries) {
      if (!found.index.empty()) check_against_index(entry.name, path, found);
      tensors_.push_back({entry.name, entry.sizes, entry.dtype, path.string(), at::kCPU});
      places_.push_back({file, entry.begin});
    }
  }

  /// Every name of the index must have been found in the shard that it names.
  void check_index_complete(const SafetensorsFiles& found) const {
    std::map<std::string, std::string> present;
    for (const TeacherTensor& tensor : tensors_) present.emplace(tensor.name, tensor.file);
    for (const auto& [name, shard] : found.weight_map) {
      if (!present.contains(name)) {
        throw_teacher_error(
            shard, name,
            "is missing from the shard that the index " + found.index.string() + " names for it");
      }
    }
  }

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }

  std::map<std::string, std::string> metadata() const override { return metadata_; }

  at::Tensor read(size_t index) override {
    const TeacherTensor& tensor = tensors_.at(index);
    const Place& place = places_.at(index);
    auto* data = const_cast<std::byte*>(place.file->data() + place.offset);
    const auto keep_mapped = [file = place.file](void*) {};
    const bool aligned = reinterpret_cast<uintptr_t>(data) % c10::elementSize(tensor.dtype) == 0;
    if (aligned) return at::from_blob(data, tensor.sizes, keep_mapped, at::dtype(tensor.dtype));
    // Older writers do not pad the header: copy, since kernels need aligned elements.
    at::Tensor copy = at::empty(tensor.sizes, tensor.dtype);
    std::memcpy(copy.mutable_data_ptr(), data, copy.nbytes());
    return copy;
  }

 private:
  struct Place {
    std::shared_ptr<const MappedFile> file;
    size_t offset;
  };

  static void check_against_index(const std::string& name, const std::filesystem::path& path,
                                  const SafetensorsFiles& found) {
    const auto entry = found.weight_map.find(name);
    if (entry == found.weight_map.end() || entry->second != path) {
      throw_teacher_error(
          path, name,
          "is in this shard, but the index " + found.index.string() + " does not say so");
    }
  }

  std::vector<TeacherTensor> tensors_;
  std::vector<Place> places_;
  std::map<std::string, std::string> metadata_;
};

std::unique_ptr<Teacher> open_files(const std::filesystem::path& path) {
  const SafetensorsFiles found = find_safetensors_files(path);
  auto teacher = std::make_unique<SafetensorsTeacher>();
  for (const auto& file : found.files) teacher->add_file(file, found);
  teacher->check_index_complete(found);
  return teacher;
}

}  // namespace

std::unique_ptr<Teacher> open_safetensors_teacher(const std::filesystem::path& path) {
  try {
    return open_files(path);
  } catch (const std::filesystem::filesystem_error& error) {
    // A folder without permission, a loop of links.
    throw_teacher_error(error.path1(), "", "cannot be read: " + error.code().message(),
                        "give a path that the root rank can read");
  }
}

}  // namespace fakescore::detail
