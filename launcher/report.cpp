#include "report.hpp"

#include <fmt/ranges.h>

#include "format_bytes.hpp"
#include "json_file.hpp"
#include "print.hpp"
#include "report_parts.hpp"

namespace fakescore::launcher {
namespace {

std::string reader_text(const MetaReport& report) {
  if (report.world_size == 1) return "the one rank";
  if (report.read == TeacherRead::kEveryRank) return "every rank, for itself";
  if (report.read == TeacherRead::kInTurns) return "every rank in turn, each byte once";
  return "the root, which sends it to the others" +
         (report.read_reason.empty() ? "" : " (" + report.read_reason + ")");
}

/// "-" where there are none.
std::string bytes_or_none(uint64_t bytes) { return bytes == 0 ? "-" : format_bytes(bytes); }

void print_ranks(const MetaReport& report) {
  const bool on_gpu = !report.peak_device_bytes.empty();
  print("{:<10} {:>10} {:>12} {:>12} {:>12} {:>16}{}\n", "rank", "host", "read", "sent", "received",
        "peak host memory", on_gpu ? "  peak GPU memory" : "");
  for (size_t rank = 0; rank < report.read_bytes.size(); ++rank) {
    print("{:<10} {:>10} {:>12} {:>12} {:>12} {:>16}", rank, report.hosts[rank],
          bytes_or_none(report.read_bytes[rank]), bytes_or_none(report.sent_bytes[rank]),
          bytes_or_none(report.received_bytes[rank]), format_bytes(report.peak_host_bytes[rank]));
    print("{}\n",
          on_gpu ? fmt::format("{:>17}", format_bytes(report.peak_device_bytes[rank])) : "");
  }
}

void print_hosts(const MetaReport& report) {
  if (report.link_sent_bytes.size() < 2) return;
  std::vector<uint64_t> read(report.link_sent_bytes.size());
  for (size_t rank = 0; rank < report.hosts.size(); ++rank) {
    read[static_cast<size_t>(report.hosts[rank])] += report.read_bytes[rank];
  }
  print("\n{:<10} {:>12} {:>22} {:>22}\n", "host", "read", "sent to other hosts",
        "received from them");
  for (size_t host = 0; host < read.size(); ++host) {
    print("{:<10} {:>12} {:>22} {:>22}\n", host, bytes_or_none(read[host]),
          bytes_or_none(report.link_sent_bytes[host]),
          bytes_or_none(report.link_received_bytes[host]));
  }
}

}  // namespace

void print_report(const MetaReport& report, const RunDescription& run) {
  print_subject("fake score", run);
  print("ranks       {} ({})\n", report.world_size, report.backend);
  print("launched by {}\n", run.launcher);
  for (const std::string& note : run.launch_notes) print("  {}\n", note);
  print("read by     {}\n", reader_text(report));
  print_choice(report.choice, kKeysShown, "");
  print("\n");
  print("{:<10} {:>10} {:>12}\n", "phase", "seconds", "bytes");
  for (const PhaseReport& phase : report.phases) {
    print("{:<10} {:>10.3f} {:>12}\n", phase.name, phase.seconds, bytes_or_none(phase.bytes));
  }
  print("{:<10} {:>10.3f} {:>12}\n\n", "total", report.seconds, format_bytes(report.bytes));
  print_ranks(report);
  print_hosts(report);
  print("\ndigest      {}\n", report.digest ? to_string(*report.digest) + ", the same on every rank"
                                            : "not computed (--no-verify)");
  const auto list = [](const char* title, const std::vector<std::string>& keys) {
    print_keys(title, keys, kKeysShown, "");
  };
  list("missing", report.missing);
  list("unexpected", report.unexpected);
  list("skipped", report.skipped);
  list("replayed", report.replayed);
  list("cast", texts(report.cast, cast_text));
}

void write_report(const std::filesystem::path& path, const MetaReport& report,
                  const RunDescription& run) {
  nlohmann::ordered_json json{{"teacher", run.teacher},
                              {"file", report.choice.taken},
                              {"passed_over", report.choice.passed_over},
                              {"class", run.class_name},
                              {"has_forward", run.has_forward},
                              {"world_size", report.world_size},
                              {"backend", report.backend},
                              {"launcher", run.launcher},
                              {"launch_notes", run.launch_notes},
                              {"read", to_string(report.read)},
                              {"read_reason", report.read_reason},
                              {"seconds", report.seconds},
                              {"bytes", report.bytes}};
  json["phases"] = nlohmann::ordered_json::array();
  for (const PhaseReport& phase : report.phases) {
    json["phases"].push_back(nlohmann::ordered_json{
        {"name", phase.name}, {"seconds", phase.seconds}, {"bytes", phase.bytes}});
  }
  json["read_bytes"] = report.read_bytes;
  json["sent_bytes"] = report.sent_bytes;
  json["received_bytes"] = report.received_bytes;
  json["hosts"] = report.hosts;
  json["link_sent_bytes"] = report.link_sent_bytes;
  json["link_received_bytes"] = report.link_received_bytes;
  json["peak_host_bytes"] = report.peak_host_bytes;
  json["peak_device_bytes"] = report.peak_device_bytes;
  if (report.digest) {
    json["digest"] = to_string(*report.digest);
  } else {
    json["digest"] = nullptr;
  }
  json["missing"] = report.missing;
  json["unexpected"] = report.unexpected;
  json["skipped"] = report.skipped;
  json["replayed"] = report.replayed;
  json["cast"] = cast_json(report.cast);
  write_json(path, std::move(json));
}

}  // namespace fakescore::launcher
