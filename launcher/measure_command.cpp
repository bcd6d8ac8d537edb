#include "measure_command.hpp"

#include <cstdio>

#include "destinations.hpp"
#include "fakescore/fakescore.hpp"
#include "format_bytes.hpp"
#include "json_file.hpp"
#include "print.hpp"

namespace fakescore::launcher {
namespace {

std::string rate_text(const std::optional<double>& rate) {
  return rate ? format_bytes(static_cast<uint64_t>(*rate)) + "/s" : "not known";
}

std::string rates_text(const std::optional<Rates>& rates) {
  if (!rates) return "not known";
  return fmt::format("{} a rank alone, {} a host", rate_text(rates->rank), rate_text(rates->host));
}

std::string seconds_text(double seconds) { return fmt::format("{:.1f} us", seconds * 1e6); }

void print_measured(const Measured& measured) {
  const Figures& figures = measured.figures;
  print("hosts       {}, {} ranks each ({})\n", measured.hosts, measured.ranks_per_host,
        figures.backend);
  print("copy        {}\n", rates_text(figures.copy));
  print("first write {}\n", rates_text(figures.first_write));
  print("message     {}\n", rates_text(figures.message));
  if (figures.disk) {
    print("disk        {} a host\n", rate_text(figures.disk));
  } else {
    print(
        "disk        not known: the page cache kept {:.0f} % of the file, or this user cannot "
        "write it\n",
        100 * measured.cached);
  }
  print("shared disk {}\n", rate_text(figures.shared_disk));
  print("link        {}\n", rate_text(figures.link));
  print("to a GPU    {}\n", rate_text(figures.to_device));
  print("control     {} a call and rank\n",
        figures.control_seconds ? seconds_text(*figures.control_seconds) : "not known");
  print("hop         {}\n", seconds_text(figures.hop_seconds));
}

void write_measured(const MeasureCommandOptions& options, const Measured& measured) {
  auto json = nlohmann::ordered_json::parse(write_figures(measured.figures));
  json["measured"] = {{"hosts", measured.hosts},
                      {"ranks_per_host", measured.ranks_per_host},
                      {"file", options.what.file.string()},
                      {"bytes", options.what.bytes},
                      {"rounds", options.what.rounds}};
  write_json(options.json, std::move(json));
}

}  // namespace

void measure(const MeasureCommandOptions& options, Communicator& communicator) {
  const bool is_root = communicator.rank() == 0;
  run_agreed(communicator, "output", ErrorCode::kConfig, [&] {
    if (is_root && !options.json.empty()) {
      check_report_file(options.json, options.what.file, "", "");
    }
  });
  const Measured measured = measure_figures(communicator, options.what);
  run_agreed(communicator, "output", ErrorCode::kConfig, [&] {
    if (!is_root) return;
    print_measured(measured);
    std::fflush(stdout);
    if (!options.json.empty()) write_measured(options, measured);
  });
}

}  // namespace fakescore::launcher
