#include "teacher/source/weight_names.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "teacher/formats/weight_suffixes.hpp"

namespace fakescore::detail {
namespace {

/// The suffixes under which the libraries save.
constexpr std::array kSavedFormats{".safetensors", ".bin"};
constexpr const char* kIndexEnd = ".index.json";

std::string stem_of(WeightsLibrary library, const std::string& format) {
  if (library == WeightsLibrary::kDiffusers) return "diffusion_pytorch_model";
  return format == ".bin" ? "pytorch_model" : "model";
}

/// Both libraries put a variant before ".json", diffusers once put it before ".index"; some tools
/// put it where it is in the name of a file.
std::vector<std::string> index_names(const std::string& stem, const std::string& format,
                                     const std::string& variant) {
  if (variant.empty()) return {stem + format + kIndexEnd};
  return {stem + format + ".index." + variant + ".json", stem + format + "." + variant + kIndexEnd,
          stem + "." + variant + format + kIndexEnd};
}

std::string whole_name(const std::string& stem, const std::string& format,
                       const std::string& variant) {
  return stem + (variant.empty() ? "" : "." + variant) + format;
}

/// Takes a number off the end of `text`, and `before` that stands before it.
std::optional<uint64_t> take_number(std::string& text, const std::string& before) {
  const size_t digits = text.find_last_not_of("0123456789") + 1;
  uint64_t number = 0;
  const auto read = std::from_chars(text.data() + digits, text.data() + text.size(), number);
  const bool is_number = digits < text.size() && read.ec == std::errc();
  if (!is_number || !text.substr(0, digits).ends_with(before)) return std::nullopt;
  text.resize(digits - before.size());
  return number;
}

}  // namespace

bool is_index_name(const std::string& name) {
  const auto has = [&](const std::string& part) { return name.find(part) != std::string::npos; };
  return name.ends_with(".json") && has(".index.") &&
         std::any_of(kSavedFormats.begin(), kSavedFormats.end(),
                     [&](const std::string& format) { return has(format + "."); });
}

bool is_weights_name(const std::string& name) {
  return is_index_name(name) || ends_as_weights(name);
}

std::vector<std::string> library_names(WeightsLibrary library, const std::string& variant) {
  std::vector<std::string> names;
  for (const std::string format : kSavedFormats) {
    const std::string stem = stem_of(library, format);
    const auto indices = index_names(stem, format, variant);
    // Of .bin, diffusers looks for the index only where it is asked for .bin.
    const bool index_first = library == WeightsLibrary::kDiffusers && format == ".safetensors";
    if (index_first) names.insert(names.end(), indices.begin(), indices.end());
    names.push_back(whole_name(stem, format, variant));
    if (!index_first) names.insert(names.end(), indices.begin(), indices.end());
  }
  return names;
}

std::set<std::string> variants_in(const std::vector<std::string>& names) {
  std::set<std::string> variants;
  const auto take = [&](const std::string& name, const std::string& before,
                        const std::string& after) {
    if (name.size() > before.size() + after.size() && name.starts_with(before) &&
        name.ends_with(after)) {
      variants.insert(name.substr(before.size(), name.size() - before.size() - after.size()));
    }
  };
  for (const std::string& file : names) {
    const auto shard = parse_shard_name(file);
    const std::string name = shard ? shard->whole : file;
    for (const WeightsLibrary library : kWeightsLibraries) {
      for (const std::string format : kSavedFormats) {
        const std::string stem = stem_of(library, format);
        take(name, stem + format + ".index.", ".json");
        take(name, stem + format + ".", kIndexEnd);
        take(name, stem + ".", format + kIndexEnd);
        take(name, stem + ".", format);
      }
    }
  }
  return variants;
}

std::optional<ShardName> parse_shard_name(const std::string& name) {
  if (!ends_as_weights(name)) return std::nullopt;
  const size_t of = name.rfind("-of-");
  if (of == std::string::npos) return std::nullopt;
  const size_t dot = name.find('.', of);
  const std::string ending = name.substr(dot);
  std::string rest = name.substr(0, dot);
  const size_t digits = rest.size() - of - 4;
  const auto count = take_number(rest, "-of-");
  const auto number = count ? take_number(rest, "-") : std::nullopt;
  if (!number) return std::nullopt;
  return ShardName{rest + "-*" + name.substr(of, 4 + digits) + ending, rest + ending, *number,
                   *count};
}

std::string teacher_option(const std::string& path) {
  std::string quoted;
  for (const char c : path) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "--teacher '" + quoted + "'";
}

}  // namespace fakescore::detail
