#include <algorithm>
#include <nlohmann/json.hpp>

#include "factory/device_memory.hpp"
#include "factory/host_memory.hpp"
#include "factory/meta_job.hpp"

namespace fakescore::detail {

using nlohmann::json;

/// Makes the report the same on every rank: the slowest rank's seconds, every rank's memory.
void MetaJob::gather_report() {
  json own = json::array({peak_host_bytes(), json::array(), peak_device_bytes(device_)});
  for (const PhaseReport& phase : report_.phases) own[1].push_back(phase.seconds);
  const auto reports = communicator_.all_gather(own.dump(), "finish");
  for (const std::string& text : reports) {
    const json content = json::parse(text);
    report_.peak_host_bytes.push_back(content.at(0).get<uint64_t>());
    if (!device_.is_cpu()) report_.peak_device_bytes.push_back(content.at(2).get<uint64_t>());
    for (size_t i = 0; i < report_.phases.size(); ++i) {
      report_.phases[i].seconds =
          std::max(report_.phases[i].seconds, content.at(1).at(i).get<double>());
    }
  }
  for (const PhaseReport& phase : report_.phases) report_.seconds += phase.seconds;
}

}  // namespace fakescore::detail
