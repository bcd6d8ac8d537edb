#include "comm/launch/job_port.hpp"

#include <fstream>

namespace fakescore::detail {
namespace {

/// A prime: the first steps of a job meet no port of the next thousand jobs.
constexpr int64_t kPortsBetweenSteps = 1031;

/// " outside of 32768 to 60999, which this host gives to outgoing connections"; "" where unknown.
std::string outside_of_outgoing_ports() {
  std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
  int first = 0;
  int last = 0;
  if (!(file >> first >> last)) return "";
  return " outside of " + std::to_string(first) + " to " + std::to_string(last) +
         ", which this host gives to outgoing connections";
}

}  // namespace

int port_of_job(int64_t job, int64_t step) {
  return kFirstJobPort +
         static_cast<int>((job % kJobPorts + step % kJobPorts * kPortsBetweenSteps) % kJobPorts);
}

std::string store_remedy(const LaunchEnv& env) {
  const std::string check =
      "check that MASTER_ADDR " + env.master_addr + " is reachable from every host";
  if (env.agent_hosts_store) return check + " and torchrun still runs there";
  return check + " and no other program has port " + std::to_string(env.master_port) +
         (env.port_follows_job ? ", which follows from SLURM_JOB_ID" : "") +
         "; to use another one, set MASTER_PORT on every rank to the same free port" +
         outside_of_outgoing_ports();
}

}  // namespace fakescore::detail
