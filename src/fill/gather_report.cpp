#include "fill/gather_report.hpp"

#include <algorithm>

#include "error/wire.hpp"
#include "fill/device_memory.hpp"
#include "fill/host_memory.hpp"

namespace fakescore::detail {

namespace {

void add_links(const LinkBytes& bytes, int host, FillReport& report) {
  report.hosts.push_back(host);
  report.sent_bytes.push_back(bytes.sent);
  report.received_bytes.push_back(bytes.received);
  const auto at = static_cast<size_t>(host);
  if (at == report.link_sent_bytes.size()) {
    report.link_sent_bytes.push_back(0);
    report.link_received_bytes.push_back(0);
  }
  report.link_sent_bytes[at] += bytes.to_other_hosts;
  report.link_received_bytes[at] += bytes.from_other_hosts;
}

}  // namespace

auto wire_fields(LinkBytes& bytes) {
  return std::tie(bytes.sent, bytes.received, bytes.to_other_hosts, bytes.from_other_hosts);
}

void gather_report(const FillContext& context, uint64_t read, const LinkCount& links,
                   FillReport& report) {
  std::vector<double> seconds;
  for (const PhaseReport& phase : report.phases) seconds.push_back(phase.seconds);
  const std::string own =
      to_wire(read, links.bytes(), peak_host_bytes(), peak_device_bytes(context.device), seconds);
  // Every rank's memory is in the report.
  for (const std::string& bytes : context.communicator.all_gather(own, "finish")) {
    const auto [read_bytes, link, host_bytes, device_bytes, theirs] =
        from_wire<uint64_t, LinkBytes, uint64_t, uint64_t, std::vector<double>>(bytes,
                                                                                "a rank's report");
    add_links(link, links.hosts()[report.read_bytes.size()], report);
    report.read_bytes.push_back(read_bytes);
    report.peak_host_bytes.push_back(host_bytes);
    if (!context.device.is_cpu()) report.peak_device_bytes.push_back(device_bytes);
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
