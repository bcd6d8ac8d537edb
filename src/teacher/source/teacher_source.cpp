#include "fakescore/teacher/teacher_source.hpp"

#include <algorithm>
#include <utility>

#include "error/join.hpp"
#include "fakescore/error.hpp"
#include "teacher/source/combined_teacher.hpp"
#include "teacher/source/key_rule.hpp"
#include "teacher/source/memory_teacher.hpp"
#include "teacher/source/merged_teacher.hpp"
#include "teacher/source/open_teacher.hpp"
#include "teacher/source/renamed_teacher.hpp"
#include "teacher/source/wrapped_names.hpp"

namespace fakescore {

TeacherSource TeacherSource::path(std::filesystem::path path, TeacherPathOptions options) {
  std::string description = path.string();
  return {std::move(description), [path = std::move(path), options = std::move(options)] {
            return detail::open_teacher(path, options);
          }};
}

TeacherSource TeacherSource::state_dict(std::vector<NamedTensor> tensors) {
  const bool in_shards = std::any_of(tensors.begin(), tensors.end(), [](const NamedTensor& entry) {
    return entry.shard.has_value();
  });
  return {"state dict in memory",
          [tensors = std::move(tensors)] { return detail::make_memory_teacher(tensors); },
          in_shards};
}

TeacherSource TeacherSource::custom(std::string description,
                                    std::function<std::unique_ptr<Teacher>()> open) {
  if (!open) throw ConfigError(description, "has nothing that opens it", "pass a callable");
  auto opened = [open = std::move(open), description] {
    auto teacher = open();
    if (!teacher) throw TeacherError(description, "was opened, but is null", "return a Teacher");
    return teacher;
  };
  return {std::move(description), std::move(opened)};
}

TeacherSource TeacherSource::combine(std::vector<TeacherSource> sources) {
  if (sources.empty()) throw ConfigError("teacher", "combines no teachers", "give at least one");
  if (sources.size() == 1) return sources.front();
  std::vector<std::string> descriptions;
  descriptions.reserve(sources.size());
  for (const TeacherSource& source : sources) descriptions.push_back(source.description());
  const bool in_shards = std::any_of(sources.begin(), sources.end(),
                                     [](const auto& source) { return source.in_shards(); });
  return {detail::join_some(descriptions),
          [sources = std::move(sources)] {
            std::vector<std::unique_ptr<Teacher>> teachers;
            teachers.reserve(sources.size());
            for (const TeacherSource& source : sources) teachers.push_back(source.open());
            return detail::combine_teachers(std::move(teachers));
          },
          in_shards};
}

TeacherSource TeacherSource::unwrap_names() const {
  return {description_, [open = open_] { return detail::unwrap_names(open()); }, in_shards_};
}

TeacherSource TeacherSource::merge_keys(std::vector<KeyMerge> merges) const {
  for (const KeyMerge& merge : merges) detail::check_merge(merge);
  return {description_,
          [open = open_, merges = std::move(merges)] { return detail::merge_keys(open(), merges); },
          in_shards_};
}

TeacherSource TeacherSource::strip_prefix(std::string prefix) const {
  if (prefix.empty()) {
    throw ConfigError("prefix", "is empty",
                      "give a prefix of the names, such as model.diffusion_model.");
  }
  return {description_,
          [open = open_, prefix = std::move(prefix), description = description_] {
            return detail::strip_prefix(open(), prefix, description);
          },
          in_shards_};
}

TeacherSource TeacherSource::rename_keys(const std::vector<std::string>& rules) const {
  TeacherSource source = *this;
  for (const std::string& text : rules) {
    const auto rename = [rule = detail::KeyRule(text)](const std::string& name) {
      return rule.apply(name);
    };
    source = source.map_keys(rename, "the rule \"" + text + "\"");
  }
  return source;
}

TeacherSource TeacherSource::map_keys(KeyMap map, std::string what) const {
  if (!map) {
    throw ConfigError(what, "is empty", "pass a callable");
  }
  return {description_,
          [open = open_, map = std::move(map), what = std::move(what)] {
            return detail::rename_teacher(open(), map, what);
          },
          in_shards_};
}

}  // namespace fakescore
