#include "fakescore/comm/launch_env.hpp"

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "fakescore/core/error.hpp"

namespace fakescore {
namespace {

constexpr int kMaxInt = std::numeric_limits<int>::max();
constexpr int kMaxPort = 65535;

[[noreturn]] void fail(std::string subject, std::string message, std::string remedy) {
  throw_error({ErrorCode::kConfig, -1, "launch", std::move(subject), std::move(message),
               std::move(remedy)});
}

std::string quoted(const std::string& value) { return "\"" + value + "\""; }

/// "a number from 0", "a number from 1 to 65535".
std::string describe_range(int64_t least, int64_t most) {
  std::string text = "a number from " + std::to_string(least);
  if (most < kMaxInt) text += " to " + std::to_string(most);
  return text;
}

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, number);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return number;
}

/// The first host of a Slurm node list: "gpu[003-010,12]" gives "gpu003", "a,b" gives "a".
/// nullopt where the list is malformed.
std::optional<std::string> first_host(std::string_view list) {
  std::string host;
  size_t at = 0;
  while (at < list.size() && list[at] != ',') {
    if (list[at] == ']') return std::nullopt;
    if (list[at] != '[') {
      host += list[at++];
      continue;
    }
    const size_t close = list.find(']', at);
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view inside = list.substr(at + 1, close - at - 1);
    const std::string_view first = inside.substr(0, inside.find_first_of(",-"));
    if (first.empty()) return std::nullopt;
    host += first;
    at = close + 1;
  }
  if (host.empty()) return std::nullopt;
  return host;
}

/// The variables of the environment, with what the caller set itself in front of them.
class Variables {
 public:
  Variables(const Environment& environment, const LaunchOverride& override)
      : environment_(environment), override_(override) {}

  std::optional<std::string> find(const std::string& name) const { return environment_(name); }
  bool has(const std::string& name) const { return find(name).has_value(); }

  /// As find(), but a variable that is set to nothing counts as absent.
  std::optional<std::string> find_non_empty(const std::string& name) const {
    auto value = find(name);
    if (value && value->empty()) return std::nullopt;
    return value;
  }

  /// nullopt where the variable is absent; throws where it is no number in the range.
  std::optional<int64_t> number(const std::string& name, int64_t least, int64_t most) const {
    const auto value = find(name);
    if (!value) return std::nullopt;
    const auto parsed = parse_number(*value);
    if (!parsed || *parsed < least || *parsed > most) {
      const std::string range = describe_range(least, most);
      fail("variable " + name, "is " + quoted(*value) + ", not " + range,
           "set " + name + " to " + range + ", or unset it");
    }
    return parsed;
  }

  /// Reads a rank and its size into `launch`; both variables are present.
  void read_rank(const std::string& rank_name, const std::string& size_name,
                 LaunchEnv& launch) const {
    launch.rank = static_cast<int>(*number(rank_name, 0, kMaxInt));
    launch.world_size = static_cast<int>(*number(size_name, 1, kMaxInt));
    if (launch.rank < launch.world_size) return;
    fail(
        "variable " + rank_name,
        "is " + quoted(*find(rank_name)) + ", but " + size_name + " is " + quoted(*find(size_name)),
        "give every process a " + rank_name + " from 0 to " + size_name + " - 1");
  }

  /// The first of `names` that is set; `rank` where none is.
  int local_rank(const std::vector<std::string>& names, int rank) const {
    if (override_.local_rank) return *override_.local_rank;
    for (const std::string& name : names) {
      if (const auto value = number(name, 0, kMaxInt)) return static_cast<int>(*value);
    }
    return rank;
  }

  /// Empty where neither the caller nor MASTER_ADDR names an address.
  std::string master_addr() const {
    return override_.master_addr ? *override_.master_addr
                                 : find_non_empty("MASTER_ADDR").value_or("");
  }

  /// 0 where neither the caller nor MASTER_PORT names a port.
  int master_port() const {
    if (override_.master_port) return *override_.master_port;
    return static_cast<int>(number("MASTER_PORT", 1, kMaxPort).value_or(0));
  }

 private:
  const Environment& environment_;
  const LaunchOverride& override_;
};

void check_option(const std::string& name, const std::optional<int>& value, int least, int most) {
  if (!value || (*value >= least && *value <= most)) return;
  const std::string range = describe_range(least, most);
  fail("option " + name, "is " + std::to_string(*value) + ", not " + range,
       "set " + name + " to " + range + ", or leave it unset");
}

void check_override(const LaunchOverride& override) {
  check_option("rank", override.rank, 0, kMaxInt);
  check_option("world_size", override.world_size, 1, kMaxInt);
  check_option("local_rank", override.local_rank, 0, kMaxInt);
  check_option("master_port", override.master_port, 1, kMaxPort);
  if (override.master_addr && override.master_addr->empty()) {
    fail("option master_addr", "is \"\", not an address",
         "set master_addr to the host of rank 0, or leave it unset");
  }
}

/// Whether a launcher set both of the variables that only mean something together.
bool has_both(const Variables& variables, const std::string& rank_name,
              const std::string& size_name) {
  const bool has_rank = variables.has(rank_name);
  const bool has_size = variables.has(size_name);
  if (has_rank == has_size) return has_rank;
  const std::string& present = has_rank ? rank_name : size_name;
  const std::string& absent = has_rank ? size_name : rank_name;
  fail("variable " + present,
       "is " + quoted(*variables.find(present)) + ", but " + absent + " is not set",
       "set both " + rank_name + " and " + size_name + ", or neither");
}

/// A job of several processes needs a store; the error says where its address and port were sought.
void require_master(const LaunchEnv& launch, const std::string& addr_looked_for,
                    const std::string& port_looked_for) {
  if (launch.world_size == 1) return;
  std::string missing;
  std::string looked_for;
  if (launch.master_addr.empty()) {
    missing = "no master address";
    looked_for = addr_looked_for;
  }
  if (launch.master_port == 0) {
    missing += missing.empty() ? "no master port" : " and no master port";
    looked_for += (looked_for.empty() ? "" : "; ") + port_looked_for;
  }
  if (missing.empty()) return;
  fail(std::string("launcher ") + to_string(launch.launcher),
       "has " + std::to_string(launch.world_size) + " processes but " + missing + "; looked for " +
           looked_for,
       "set MASTER_ADDR and MASTER_PORT to the same values on every rank, or pass master_addr "
       "and master_port");
}

constexpr const char* kAddrLookedFor = "option master_addr, variable MASTER_ADDR";
constexpr const char* kPortLookedFor = "option master_port, variable MASTER_PORT";

std::optional<LaunchEnv> from_override(const Variables& variables, const LaunchOverride& override) {
  if (!override.rank && !override.world_size) return std::nullopt;
  if (!override.rank) {
    fail("option world_size",
         "is " + std::to_string(*override.world_size) + ", but rank is not set",
         "set both rank and world_size, or neither");
  }
  if (!override.world_size) {
    fail("option rank", "is " + std::to_string(*override.rank) + ", but world_size is not set",
         "set both rank and world_size, or neither");
  }
  if (*override.rank >= *override.world_size) {
    fail("option rank",
         "is " + std::to_string(*override.rank) + ", but world_size is " +
             std::to_string(*override.world_size),
         "give every process a rank from 0 to world_size - 1");
  }
  LaunchEnv launch;
  launch.launcher = Launcher::kExplicit;
  launch.rank = *override.rank;
  launch.world_size = *override.world_size;
  launch.local_rank = variables.local_rank({}, launch.rank);
  launch.master_addr = variables.master_addr();
  launch.master_port = variables.master_port();
  require_master(launch, kAddrLookedFor, kPortLookedFor);
  return launch;
}

/// Empty outside of torchrun's elastic agent, as where RANK and WORLD_SIZE were set by hand.
std::string torchrun_key_prefix(const Variables& variables) {
  const char* run_name = "TORCHELASTIC_RUN_ID";
  const char* restart_name = "TORCHELASTIC_RESTART_COUNT";
  if (!variables.has(run_name) && !variables.has(restart_name)) return "";
  return variables.find_non_empty(run_name).value_or("default") + "/" +
         variables.find_non_empty(restart_name).value_or("0");
}

std::optional<LaunchEnv> from_torchrun(const Variables& variables) {
  if (!has_both(variables, "RANK", "WORLD_SIZE")) return std::nullopt;
  LaunchEnv launch;
  launch.launcher = Launcher::kTorchrun;
  variables.read_rank("RANK", "WORLD_SIZE", launch);
  launch.local_rank = variables.local_rank({"LOCAL_RANK"}, launch.rank);
  launch.master_addr = variables.master_addr();
  launch.master_port = variables.master_port();
  launch.agent_hosts_store = variables.find("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.key_prefix = torchrun_key_prefix(variables);
  require_master(launch, kAddrLookedFor, kPortLookedFor);
  return launch;
}

std::optional<LaunchEnv> from_open_mpi(const Variables& variables) {
  const char* rank_name = "OMPI_COMM_WORLD_RANK";
  const char* size_name = "OMPI_COMM_WORLD_SIZE";
  if (!has_both(variables, rank_name, size_name)) return std::nullopt;
  LaunchEnv launch;
  launch.launcher = Launcher::kOpenMpi;
  variables.read_rank(rank_name, size_name, launch);
  launch.local_rank = variables.local_rank({"OMPI_COMM_WORLD_LOCAL_RANK"}, launch.rank);
  return launch;
}

/// The variable in which Slurm says how many tasks belong to `rank_name`: those of the step where
/// it is set, those of the job otherwise.
std::string slurm_size_name(const Variables& variables, const std::string& rank_name) {
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    if (variables.has(name)) return name;
  }
  fail("variable " + rank_name,
       "is " + quoted(*variables.find(rank_name)) +
           ", but neither SLURM_STEP_NUM_TASKS nor SLURM_NTASKS is set",
       "start the processes with srun, or pass rank and world_size");
}

std::optional<LaunchEnv> from_pmi(const Variables& variables) {
  LaunchEnv launch;
  launch.launcher = Launcher::kPmi;
  if (has_both(variables, "PMI_RANK", "PMI_SIZE")) {
    variables.read_rank("PMI_RANK", "PMI_SIZE", launch);
    launch.local_rank = variables.local_rank({"MPI_LOCALRANKID", "SLURM_LOCALID"}, launch.rank);
    return launch;
  }
  if (!variables.has("PMIX_RANK")) return std::nullopt;
  variables.read_rank("PMIX_RANK", slurm_size_name(variables, "PMIX_RANK"), launch);
  launch.local_rank = variables.local_rank({"SLURM_LOCALID"}, launch.rank);
  return launch;
}

std::string slurm_master_addr(const Variables& variables) {
  const std::string addr = variables.master_addr();
  if (!addr.empty()) return addr;
  for (const std::string name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"}) {
    const auto list = variables.find_non_empty(name);
    if (!list) continue;
    if (const auto host = first_host(*list)) return *host;
    fail("variable " + name, "is " + quoted(*list) + ", not a node list",
         "set MASTER_ADDR to the host of rank 0");
  }
  // Last, since srun may have been started on a login node, where rank 0 is not.
  return variables.find_non_empty("SLURM_LAUNCH_NODE_IPADDR").value_or("");
}

/// The steps of one job agree on a port without talking: it follows from the job's number.
int slurm_master_port(const Variables& variables) {
  if (const int port = variables.master_port()) return port;
  const auto job = variables.number("SLURM_JOB_ID", 0, std::numeric_limits<int64_t>::max());
  return job ? static_cast<int>(20000 + *job % 20000) : 0;
}

std::string slurm_key_prefix(const Variables& variables) {
  const auto job = variables.find_non_empty("SLURM_JOB_ID");
  if (!job) return "";
  const auto step = variables.find_non_empty("SLURM_STEP_ID");
  return "slurm/" + *job + (step ? "." + *step : "");
}

/// SLURM_NTASKS without SLURM_PROCID is a shell of salloc, which launched nothing yet.
std::optional<LaunchEnv> from_slurm(const Variables& variables) {
  if (!variables.has("SLURM_PROCID")) return std::nullopt;
  LaunchEnv launch;
  launch.launcher = Launcher::kSlurm;
  variables.read_rank("SLURM_PROCID", slurm_size_name(variables, "SLURM_PROCID"), launch);
  launch.local_rank = variables.local_rank({"SLURM_LOCALID"}, launch.rank);
  launch.master_addr = slurm_master_addr(variables);
  launch.master_port = slurm_master_port(variables);
  launch.key_prefix = slurm_key_prefix(variables);
  require_master(launch,
                 std::string(kAddrLookedFor) +
                     ", SLURM_STEP_NODELIST, SLURM_JOB_NODELIST, SLURM_LAUNCH_NODE_IPADDR",
                 std::string(kPortLookedFor) + ", SLURM_JOB_ID");
  return launch;
}

std::optional<LaunchEnv> from_launcher(const Variables& variables) {
  for (const auto find : {from_torchrun, from_open_mpi, from_pmi, from_slurm}) {
    if (auto launch = find(variables)) return launch;
  }
  return std::nullopt;
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

LaunchEnv detect_launch_env(const Environment& environment, const LaunchOverride& override) {
  check_override(override);
  const Variables variables(environment, override);
  auto found = from_override(variables, override);
  if (!found) found = from_launcher(variables);

  LaunchEnv launch = found.value_or(LaunchEnv{});
  if (override.local_rank) launch.local_rank = *override.local_rank;
  if (override.master_addr) launch.master_addr = *override.master_addr;
  if (override.master_port) launch.master_port = *override.master_port;
  return launch;
}

const char* to_string(Launcher launcher) noexcept {
  switch (launcher) {
    case Launcher::kExplicit:
      return "explicit";
    case Launcher::kTorchrun:
      return "torchrun";
    case Launcher::kOpenMpi:
      return "Open MPI";
    case Launcher::kPmi:
      return "PMI";
    case Launcher::kSlurm:
      return "Slurm";
    case Launcher::kSingle:
      return "single process";
  }
  return "unknown launcher";
}

}  // namespace fakescore
