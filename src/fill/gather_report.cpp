#include "fill/gather_report.hpp"

#include <algorithm>

#include "error/wire.hpp"
#include "fill/device_memory.hpp"
#include "fill/host_memory.hpp"

namespace fakescore::detail {

void gather_report(Communicator& communicator, at::Device device, uint64_t read,
                   FillReport& report) {
  std::vector<double> seconds;
  for (const PhaseReport& phase : report.phases) seconds.push_back(phase.seconds);
  const std::string own = to_wire(read, peak_host_bytes(), peak_device_bytes(device), seconds);
  // Every rank's memory is in the report.
  for (const std::string& bytes : communicator.all_gather(own, "finish")) {
    const auto [read_bytes, host_bytes, device_bytes, theirs] =
        from_wire<uint64_t, uint64_t, uint64_t, std::vector<double>>(bytes, "a rank's report");
    report.read_bytes.push_back(read_bytes);
    report.peak_host_bytes.push_back(host_bytes);
    if (!device.is_cpu()) report.peak_device_bytes.push_back(device_bytes);
    for (size_t i = 0; i < report.phases.size(); ++i) {
      report.phases[i].seconds = std::max(report.phases[i].seconds, theirs.at(i));
    }
  }
  for (const PhaseReport& phase : report.phases) {
    report.bytes += phase.bytes;
    report.seconds += phase.seconds;
  }
}

}  // namespace fakescore::detail
