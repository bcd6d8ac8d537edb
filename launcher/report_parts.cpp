#include "report_parts.hpp"

#include <algorithm>

#include "print.hpp"

namespace fakescore::launcher {

void print_subject(const char* what, const RunDescription& run) {
  print("{} of {}\n", what, run.teacher);
  print("class       {}{}\n", run.class_name,
        run.has_forward ? "" : " (not registered: filled and verified, it has no forward)");
}

void print_choice(const TeacherChoice& choice, size_t most, const char* hint) {
  if (choice.taken.empty()) return;
  print("file        {}\n", choice.taken);
  if (choice.passed_over.empty()) return;
  print_keys("passed over", choice.passed_over, most, hint);
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
  print("{:<11} {}\n", title, keys.size());
  for (size_t i = 0; i < std::min(keys.size(), most); ++i) print("  {}\n", keys[i]);
  if (most > 0 && keys.size() > most) print("  and {} more{}\n", keys.size() - most, hint);
}

}  // namespace fakescore::launcher
