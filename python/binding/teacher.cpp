#include "teacher.hpp"

#include <memory>
#include <unordered_map>
#include <utility>

#include "fakescore/error.hpp"
#include "reply.hpp"
#include "shards.hpp"

namespace fakescore::python {

std::string TeacherHolder::set_path(std::string path, std::string key, std::string variant,
                                    std::string subfolder) {
  return reply_done([&] {
    source_ = TeacherSource::path(std::move(path),
                                  {std::move(key), std::move(variant), std::move(subfolder)});
  });
}

std::string TeacherHolder::set_state_dict(const std::vector<std::string>& names,
                                          const std::vector<at::Tensor>& tensors,
                                          const std::vector<int64_t>& sharded,
                                          const std::vector<std::vector<int64_t>>& global_sizes,
                                          const std::vector<std::vector<int64_t>>& offsets,
                                          const std::vector<std::vector<int64_t>>& flattened_from) {
  return reply_done([&] {
    std::vector<NamedTensor> entries;
    for (size_t i = 0; i < names.size(); ++i) entries.push_back({names[i], tensors.at(i)});
    set_shards(entries, sharded, global_sizes, offsets, flattened_from);
    source_ = TeacherSource::state_dict(std::move(entries));
  });
}

std::string TeacherHolder::set_nothing(std::string description, std::string remedy) {
  return reply_done([&] {
    source_ =
        TeacherSource::custom(description, [description, remedy]() -> std::unique_ptr<Teacher> {
          throw TeacherError(description, "is not given on this rank", remedy);
        });
  });
}

std::string TeacherHolder::combine(const std::vector<c10::intrusive_ptr<TeacherHolder>>& parts) {
  return reply_done([&] {
    std::vector<TeacherSource> sources;
    for (const auto& part : parts) sources.push_back(part->get());
    source_ = TeacherSource::combine(std::move(sources));
  });
}

std::string TeacherHolder::strip_prefix(std::string prefix) {
  return reply_done([&] { source_ = get().strip_prefix(std::move(prefix)); });
}

std::string TeacherHolder::rename_keys(const std::vector<std::string>& rules) {
  return reply_done([&] { source_ = get().rename_keys(rules); });
}

std::string TeacherHolder::map_names(const std::vector<std::string>& names,
                                     const std::vector<std::string>& renamed, std::string what) {
  return reply_done([&] {
    auto map = std::make_shared<std::unordered_map<std::string, std::string>>();
    for (size_t i = 0; i < names.size(); ++i) map->emplace(names[i], renamed.at(i));
    source_ = get().map_keys(
        [map](const std::string& name) -> std::optional<std::string> {
          const auto found = map->find(name);
          if (found == map->end() || found->second.empty()) return std::nullopt;
          return found->second;
        },
        std::move(what));
  });
}

std::string TeacherHolder::unwrap_names() {
  return reply_done([&] { source_ = get().unwrap_names(); });
}

std::string TeacherHolder::merge_keys(const std::vector<std::string>& merged,
                                      const std::vector<int64_t>& counts,
                                      const std::vector<std::string>& parts,
                                      const std::vector<int64_t>& dims) {
  return reply_done([&] {
    std::vector<KeyMerge> merges;
    auto part = parts.begin();
    for (size_t i = 0; i < merged.size(); ++i) {
      const auto end = part + static_cast<std::ptrdiff_t>(counts.at(i));
      merges.push_back({merged[i], {part, end}, dims.at(i)});
      part = end;
    }
    source_ = get().merge_keys(std::move(merges));
  });
}

std::string TeacherHolder::tensors() const {
  return reply([&] {
    nlohmann::json list = nlohmann::json::array();
    const auto teacher = get().open();
    for (const TeacherTensor& tensor : teacher->tensors()) {
      list.push_back({{"name", tensor.name},
                      {"sizes", tensor.sizes},
                      {"dtype", c10::toString(tensor.dtype)},
                      {"file", tensor.file}});
    }
    return list;
  });
}

void register_teacher(torch::Library& library) {
  library.class_<TeacherHolder>("Teacher")
      .def(torch::init<>())
      .def("set_path", &TeacherHolder::set_path)
      .def("set_state_dict", &TeacherHolder::set_state_dict)
      .def("set_nothing", &TeacherHolder::set_nothing)
      .def("combine", &TeacherHolder::combine)
      .def("strip_prefix", &TeacherHolder::strip_prefix)
      .def("rename_keys", &TeacherHolder::rename_keys)
      .def("map_names", &TeacherHolder::map_names)
      .def("unwrap_names", &TeacherHolder::unwrap_names)
      .def("merge_keys", &TeacherHolder::merge_keys)
      .def("tensors", &TeacherHolder::tensors);
}

}  // namespace fakescore::python
