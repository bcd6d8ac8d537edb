#include "teacher/source/wrapped_names.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "teacher/source/renamed_teacher.hpp"

namespace fakescore::detail {
namespace {

constexpr std::string_view kDataParallel = "module.";
constexpr std::string_view kPeft = "base_model.model.";

/// Takes each `part`, which ends with a dot, out of a name where it stands at its beginning or
/// behind a dot.
void take_out(std::string& name, std::string_view part) {
  for (size_t at = name.find(part); at != std::string::npos; at = name.find(part, at)) {
    if (at == 0 || name[at - 1] == '.') {
      name.erase(at, part.size());
    } else {
      ++at;
    }
  }
}

std::string unwrapped(std::string name, bool all_data_parallel) {
  if (all_data_parallel) name.erase(0, kDataParallel.size());
  constexpr std::array<std::string_view, 3> kWrappers{"_orig_mod.", "_checkpoint_wrapped_module.",
                                                      "_fsdp_wrapped_module."};
  for (const std::string_view wrapper : kWrappers) take_out(name, wrapper);
  if (name.starts_with(kPeft)) {
    name.erase(0, kPeft.size());
    take_out(name, "base_layer.");
  }
  return name;
}

}  // namespace

std::unique_ptr<Teacher> unwrap_names(std::unique_ptr<Teacher> teacher) {
  const auto& tensors = teacher->tensors();
  const bool all_data_parallel =
      !tensors.empty() &&
      std::all_of(tensors.begin(), tensors.end(), [](const TeacherTensor& tensor) {
        return tensor.name.starts_with(kDataParallel);
      });
  const KeyMap map = [all_data_parallel](const std::string& name) {
    return unwrapped(name, all_data_parallel);
  };
  return rename_teacher(std::move(teacher), map, "taking off what wrappers put into names");
}

}  // namespace fakescore::detail
