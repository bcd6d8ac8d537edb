#include "core/teacher/checkpoint_folder.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <utility>

#include "core/teacher/checkpoint_index.hpp"
#include "core/teacher/dcp/open_distributed.hpp"
#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

constexpr const char* kPipelineFile = "model_index.json";
constexpr std::array kFormats{".safetensors", ".bin"};
constexpr std::array kTorchSuffixes{".bin", ".pt", ".pth", ".ckpt", ".jit"};

/// The names that diffusers and transformers give a model's weights in a format.
std::array<std::string, 2> usual_stems(const std::string& format) {
  return {"diffusion_pytorch_model", format == ".bin" ? "pytorch_model" : "model"};
}

/// An index's names: transformers and diffusers put a variant before ".json"; some tools put it
/// where it is in a file's name.
Names index_names(const std::string& stem, const std::string& format, const std::string& variant) {
  if (variant.empty()) return {stem + format + ".index.json"};
  return {stem + format + ".index." + variant + ".json",
          stem + "." + variant + format + ".index.json"};
}

std::string file_name(const std::string& stem, const std::string& format,
                      const std::string& variant) {
  return stem + (variant.empty() ? "" : "." + variant) + format;
}

Names regular_files(const fs::path& folder) {
  Names names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_index(const std::string& name) {
  return name.ends_with(".json") && (name.find(".safetensors.index.") != std::string::npos ||
                                     name.find(".bin.index.") != std::string::npos);
}

bool is_safetensors_file(const std::string& name) { return name.ends_with(".safetensors"); }

bool is_torch_file(const std::string& name) {
  return std::any_of(kTorchSuffixes.begin(), kTorchSuffixes.end(),
                     [&](const char* suffix) { return name.ends_with(suffix); });
}

/// What cannot be looked into, such as lost+found, holds none: it must not stand in the way of the
/// error that this is asked for.
bool holds_weights(const fs::path& folder) {
  if (is_distributed_checkpoint(folder)) return true;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    if (entry->is_regular_file(ignored) &&
        (is_index(name) || is_safetensors_file(name) || is_torch_file(name))) {
      return true;
    }
  }
  return false;
}

std::string join(const Names& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// The subfolders that could have been meant, in words.
std::string weighty_subfolders(const fs::path& folder) {
  Names names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::error_code ignored;
    if (entry.is_directory(ignored) && holds_weights(entry.path())) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names.empty() ? "none of its subfolders holds weights"
                       : "its subfolders with weights: " + join(names);
}

/// The variants of the names that diffusers and transformers use.
std::set<std::string> variants_in(const Names& names) {
  std::set<std::string> variants;
  const auto take = [&](const std::string& name, const std::string& before,
                        const std::string& after) {
    if (name.size() > before.size() + after.size() && name.starts_with(before) &&
        name.ends_with(after)) {
      variants.insert(name.substr(before.size(), name.size() - before.size() - after.size()));
    }
  };
  for (const std::string& name : names) {
    for (const std::string format : kFormats) {
      for (const std::string& stem : usual_stems(format)) {
        take(name, stem + format + ".index.", ".json");
        take(name, stem + ".", format + ".index.json");
        take(name, stem + ".", format);
      }
    }
  }
  return variants;
}

std::string usual_name(const Names& names, const std::string& variant) {
  for (const std::string format : kFormats) {
    Names wanted;
    for (const std::string& stem : usual_stems(format)) {
      wanted.push_back(file_name(stem, format, variant));
    }
    for (const std::string& stem : usual_stems(format)) {
      for (std::string& name : index_names(stem, format, variant)) wanted.push_back(name);
    }
    for (const std::string& name : wanted) {
      if (std::binary_search(names.begin(), names.end(), name)) return name;
    }
  }
  return "";
}

/// The one file of another name; empty where there is none.
std::string only_name(const fs::path& folder, const Names& names) {
  for (const auto kind : {is_index, is_safetensors_file, is_torch_file}) {
    Names fitting;
    std::copy_if(names.begin(), names.end(), std::back_inserter(fitting), kind);
    if (fitting.size() == 1) return fitting.front();
    if (fitting.size() > 1) {
      throw_teacher_error(folder, "", "holds several checkpoints: " + join(fitting),
                          "name one of them, or its variant");
    }
  }
  return "";
}

fs::path choose_in_folder(const fs::path& folder, const std::string& variant) {
  const Names names = regular_files(folder);
  if (std::string name = usual_name(names, variant); !name.empty()) return folder / name;
  if (!variant.empty()) {
    const auto variants = variants_in(names);
    throw_teacher_error(folder, "",
                        "holds no checkpoint of the variant " + variant + "; its variants: " +
                            (variants.empty() ? "none" : join({variants.begin(), variants.end()})),
                        "give one of them, or none");
  }
  if (fs::exists(folder / kPipelineFile)) {
    throw_teacher_error(folder, "",
                        "is a pipeline of several models; " + weighty_subfolders(folder),
                        "give one as the subfolder, or name a file");
  }
  if (std::string name = only_name(folder, names); !name.empty()) return folder / name;
  throw_teacher_error(
      folder, "",
      "holds no .safetensors, .bin, .pt, .pth, .ckpt or .jit file and no index of such; " +
          weighty_subfolders(folder),
      "give the folder that holds the weights");
}

void check_exists(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(fs::status(path, error))) {
    throw_teacher_error(path, "", "does not exist or cannot be reached",
                        "give a path that the root rank can read");
  }
}

/// A folder without permission, a loop of links.
[[noreturn]] void rethrow(const fs::filesystem_error& error, const fs::path& path) {
  throw_teacher_error(error.path1().empty() ? path : error.path1(), "",
                      "cannot be read: " + error.code().message(),
                      "give a path that the root rank can read");
}

fs::path enter_subfolder(const fs::path& path, const fs::path& subfolder) {
  const bool leaves = std::any_of(subfolder.begin(), subfolder.end(),
                                  [](const fs::path& part) { return part == ".."; });
  if (subfolder.is_absolute() || leaves) {
    throw_teacher_error(path, "", "has no subfolder " + subfolder.string(),
                        "give a folder below it, such as transformer");
  }
  if (!fs::is_directory(path / subfolder)) {
    throw_teacher_error(path, "",
                        "has no subfolder " + subfolder.string() + "; " + weighty_subfolders(path),
                        "give one of them");
  }
  return path / subfolder;
}

}  // namespace

fs::path resolve_checkpoint_path(const fs::path& path, const TeacherPathOptions& options) {
  try {
    check_exists(path);
    const bool about_folders = !options.subfolder.empty() || !options.variant.empty();
    if (about_folders && !fs::is_directory(path)) {
      throw_teacher_error(path, "", "is a file: only a folder has subfolders and variants",
                          "give the folder, or leave these out");
    }
    return options.subfolder.empty() ? path : enter_subfolder(path, options.subfolder);
  } catch (const fs::filesystem_error& error) {
    rethrow(error, path);
  }
}

CheckpointFiles find_checkpoint_files(const fs::path& path, const std::string& variant) {
  try {
    const fs::path file = fs::is_directory(path) ? choose_in_folder(path, variant) : path;
    if (file.extension() == ".json") return read_checkpoint_index(file);
    return {{file}, {}, {}};
  } catch (const fs::filesystem_error& error) {
    rethrow(error, path);
  }
}

}  // namespace fakescore::detail
