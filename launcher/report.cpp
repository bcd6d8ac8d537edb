#include "report.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "fakescore/core/error.hpp"
#include "format_bytes.hpp"

namespace fakescore::launcher {
namespace {

constexpr size_t kKeysShown = 12;

std::string cast_text(const CastKey& key) {
  return fmt::format("{} ({} to {})", key.name, c10::toString(key.from), c10::toString(key.to));
}

void print_keys(const char* title, const std::vector<std::string>& keys) {
  fmt::print("{:<11} {}\n", title, keys.size());
  for (size_t i = 0; i < std::min(keys.size(), kKeysShown); ++i) fmt::print("  {}\n", keys[i]);
  if (keys.size() > kKeysShown) fmt::print("  and {} more\n", keys.size() - kKeysShown);
}

const char* reader(const MetaReport& report) {
  return report.read == TeacherRead::kEveryRank ? "all" : "root";
}

std::string reader_text(const MetaReport& report) {
  if (report.read == TeacherRead::kEveryRank) return "every rank, for itself";
  return "the root, which broadcasts it" +
         (report.read_reason.empty() ? "" : " (" + report.read_reason + ")");
}

std::vector<std::string> cast_texts(const MetaReport& report) {
  std::vector<std::string> texts;
  for (const CastKey& key : report.cast) texts.push_back(cast_text(key));
  return texts;
}

}  // namespace

void print_report(const MetaReport& report, const RunDescription& run) {
  fmt::print("fake score of {}\n", run.teacher);
  fmt::print("class       {}{}\n", run.class_name,
             run.has_forward ? "" : " (not registered: filled and verified, it has no forward)");
  fmt::print("ranks       {} ({})\n", report.world_size, report.backend);
  fmt::print("read by     {}\n\n", reader_text(report));
  fmt::print("{:<10} {:>10} {:>12}\n", "phase", "seconds", "bytes");
  for (const PhaseReport& phase : report.phases) {
    fmt::print("{:<10} {:>10.3f} {:>12}\n", phase.name, phase.seconds,
               phase.bytes == 0 ? "-" : format_bytes(phase.bytes));
  }
  fmt::print("{:<10} {:>10.3f} {:>12}\n\n", "total", report.seconds, format_bytes(report.bytes));
  for (size_t rank = 0; rank < report.peak_host_bytes.size(); ++rank) {
    fmt::print("peak host memory, rank {:<4} {:>12}\n", rank,
               format_bytes(report.peak_host_bytes[rank]));
  }
  for (size_t rank = 0; rank < report.peak_device_bytes.size(); ++rank) {
    fmt::print("peak GPU memory, rank {:<5} {:>12}\n", rank,
               format_bytes(report.peak_device_bytes[rank]));
  }
  fmt::print("digest      {}\n", report.digest
                                     ? to_string(*report.digest) + ", the same on every rank"
                                     : "not computed (--no-verify)");
  print_keys("missing", report.missing);
  print_keys("unexpected", report.unexpected);
  print_keys("replayed", report.replayed);
  print_keys("cast", cast_texts(report));
}

void write_report(const std::filesystem::path& path, const MetaReport& report,
                  const RunDescription& run) {
  nlohmann::ordered_json json{{"teacher", run.teacher},
                              {"class", run.class_name},
                              {"has_forward", run.has_forward},
                              {"world_size", report.world_size},
                              {"backend", report.backend},
                              {"read", reader(report)},
                              {"read_reason", report.read_reason},
                              {"seconds", report.seconds},
                              {"bytes", report.bytes}};
  json["phases"] = nlohmann::ordered_json::array();
  for (const PhaseReport& phase : report.phases) {
    json["phases"].push_back(nlohmann::ordered_json{
        {"name", phase.name}, {"seconds", phase.seconds}, {"bytes", phase.bytes}});
  }
  json["peak_host_bytes"] = report.peak_host_bytes;
  json["peak_device_bytes"] = report.peak_device_bytes;
  if (report.digest) {
    json["digest"] = to_string(*report.digest);
  } else {
    json["digest"] = nullptr;
  }
  json["missing"] = report.missing;
  json["unexpected"] = report.unexpected;
  json["replayed"] = report.replayed;
  json["cast"] = nlohmann::ordered_json::array();
  for (const CastKey& key : report.cast) {
    json["cast"].push_back(nlohmann::ordered_json{
        {"name", key.name}, {"from", c10::toString(key.from)}, {"to", c10::toString(key.to)}});
  }
  std::ofstream file(path);
  file << json.dump(2) << '\n';
  file.close();
  if (!file) {
    throw_error({ErrorCode::kConfig, -1, "report", path.string(), "cannot be written",
                 "give a file in a folder that exists and can be written"});
  }
}

}  // namespace fakescore::launcher
