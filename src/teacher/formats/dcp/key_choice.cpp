#include "teacher/formats/dcp/key_choice.hpp"

#include <algorithm>
#include <set>

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"

namespace fakescore::detail {
namespace {

std::string describe_first_parts(const std::vector<std::string_view>& names) {
  constexpr size_t kShownParts = 20;
  constexpr size_t kShownBytes = 100;
  std::set<std::string_view> parts;
  for (const std::string_view name : names) {
    parts.insert(name.substr(0, std::min(name.find('.'), kShownBytes)));
  }
  std::string text;
  size_t shown = 0;
  for (const std::string_view part : parts) {
    if (shown++ == kShownParts) return text + ", ...";
    text.append(text.empty() ? "" : ", ").append(part);
  }
  return text;
}

}  // namespace

std::string key_prefix(const std::string& key) {
  return key.empty() || key == "." ? "" : key + ".";
}

void check_key(const std::string& key, const std::vector<std::string_view>& names,
               const std::filesystem::path& file) {
  const std::string prefix = key_prefix(key);
  const auto is_below = [&](std::string_view name) { return name.starts_with(prefix); };
  if (prefix.empty() || std::any_of(names.begin(), names.end(), is_below)) return;
  throw_teacher_error(file, "",
                      "holds no tensor below the key " + shown(key) +
                          "; its tensors' names begin with: " + describe_first_parts(names),
                      "give one of these as the key, or leave the key out");
}

}  // namespace fakescore::detail
