#include "report_parts.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>

#include "fakescore/core/error.hpp"

namespace fakescore::launcher {

void print_subject(const char* what, const RunDescription& run) {
  fmt::print("{} of {}\n", what, run.teacher);
  fmt::print("class       {}{}\n", run.class_name,
             run.has_forward ? "" : " (not registered: filled and verified, it has no forward)");
}

void print_choice(const TeacherChoice& choice, size_t most, const char* hint) {
  if (choice.taken.empty()) return;
  fmt::print("file        {}\n", choice.taken);
  if (choice.passed_over.empty()) return;
  print_keys("passed over", choice.passed_over, most, hint);
}

const char* reader_name(TeacherRead read) {
  return read == TeacherRead::kEveryRank ? "all" : "root";
}

std::string cast_text(const CastKey& key) {
  return fmt::format("{} ({} to {})", key.name, c10::toString(key.from), c10::toString(key.to));
}

nlohmann::ordered_json cast_json(const std::vector<CastKey>& keys) {
  auto json = nlohmann::ordered_json::array();
  for (const CastKey& key : keys) {
    json.push_back(nlohmann::ordered_json{
        {"name", key.name}, {"from", c10::toString(key.from)}, {"to", c10::toString(key.to)}});
  }
  return json;
}

void print_keys(const char* title, const std::vector<std::string>& keys, size_t most,
                const char* hint) {
  fmt::print("{:<11} {}\n", title, keys.size());
  for (size_t i = 0; i < std::min(keys.size(), most); ++i) fmt::print("  {}\n", keys[i]);
  if (most > 0 && keys.size() > most) fmt::print("  and {} more{}\n", keys.size() - most, hint);
}

void write_json(const std::filesystem::path& path, const nlohmann::ordered_json& json) {
  std::ofstream file(path);
  file << json.dump(2) << '\n';
  file.close();
  if (!file) {
    throw_error({ErrorCode::kConfig, -1, "report", path.string(), "cannot be written",
                 "give a file in a folder that exists and can be written"});
  }
}

}  // namespace fakescore::launcher
