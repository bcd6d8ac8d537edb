#include "fakescore/comm/launch_env.hpp"

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "comm/slurm_nodes.hpp"
#include "fakescore/core/error.hpp"

namespace fakescore {
namespace {

constexpr int kMaxPort = 65535;

[[noreturn]] void fail(const std::string& subject, const std::string& message,
                       const std::string& remedy) {
  throw ConfigError(
      ErrorInfo{ErrorCode::kConfig, -1, "launch environment", subject, message, remedy});
}

// Reads variables and says which one is at fault.
class Reader {
 public:
  explicit Reader(const Environment& environment) : environment_(environment) {}

  bool has(const std::string& name) const { return environment_(name).has_value(); }
  std::string text(const std::string& name) const { return environment_(name).value_or(""); }

  std::int64_t number(const std::string& name, std::int64_t low, std::int64_t high) const {
    const std::string value = text(name);
    std::int64_t parsed = 0;
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, parsed);
    if (error != std::errc() || stop != end || parsed < low || parsed > high) {
      fail(name,
           "its value \"" + value + "\" is not a whole number from " + std::to_string(low) +
               " to " + std::to_string(high),
           "start the program with its launcher, or set the value in the options");
    }
    return parsed;
  }

  int small_number(const std::string& name, int low) const {
    return static_cast<int>(number(name, low, INT32_MAX));
  }

  // The first of `names` that is set; an error that lists them all when none is.
  std::string first_of(const std::vector<std::string>& names, const std::string& given) const {
    std::string listed;
    for (const auto& name : names) {
      if (has(name)) return name;
      listed += (listed.empty() ? "" : ", ") + name;
    }
    fail(given, "is set, but none of these that belong to it: " + listed,
         "set them, unset " + given + ", or set the rank and the world size in the options");
  }

 private:
  const Environment& environment_;
};

void check_range(int rank, int world_size, const std::string& rank_name,
                 const std::string& size_name) {
  if (rank >= 0 && world_size >= 1 && rank < world_size) return;
  fail(rank_name,
       "rank " + std::to_string(rank) + " is not below the world size " +
           std::to_string(world_size) + " (" + size_name + ")",
       "ranks count from 0");
}

void read_rank_and_size(const Reader& read, const std::string& rank_name,
                        const std::string& size_name, LaunchEnv& env) {
  env.rank = read.small_number(rank_name, 0);
  env.world_size = read.small_number(size_name, 1);
  check_range(env.rank, env.world_size, rank_name, size_name);
}

void read_local_rank(const Reader& read, const std::vector<std::string>& names, LaunchEnv& env) {
  for (const auto& name : names) {
    if (!read.has(name)) continue;
    env.local_rank = read.small_number(name, 0);
    return;
  }
}

void read_master(const Reader& read, LaunchEnv& env) {
  if (read.has("MASTER_ADDR")) {
    env.master_addr = read.text("MASTER_ADDR");
    if (env.master_addr.empty()) {
      fail("MASTER_ADDR", "its value \"\" is empty", "set the host that serves the store");
    }
  }
  if (read.has("MASTER_PORT")) {
    env.master_port = static_cast<int>(read.number("MASTER_PORT", 1, kMaxPort));
  }
}

void require_master(const LaunchEnv& env, const std::string& because) {
  if (env.world_size == 1 || (!env.master_addr.empty() && env.master_port != 0)) return;
  std::string missing = env.master_addr.empty() ? "MASTER_ADDR" : "";
  if (env.master_port == 0) missing += missing.empty() ? "MASTER_PORT" : " and MASTER_PORT";
  fail(missing, "not set, but " + because + " and a world of several ranks needs it",
       "set MASTER_ADDR and MASTER_PORT to the host and port where rank 0 serves the store, or "
       "start with torchrun or mpirun");
}

LaunchEnv read_torchrun(const Reader& read) {
  LaunchEnv env;
  env.launcher = Launcher::kTorchrun;
  const bool has_rank = read.has("RANK");
  read.first_of({has_rank ? "WORLD_SIZE" : "RANK"}, has_rank ? "RANK" : "WORLD_SIZE");
  read_rank_and_size(read, "RANK", "WORLD_SIZE", env);
  read_local_rank(read, {"LOCAL_RANK"}, env);
  read_master(read, env);
  env.agent_hosts_store = read.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  if (read.has("TORCHELASTIC_RUN_ID")) env.key_prefix = read.text("TORCHELASTIC_RUN_ID");
  // The agent's store survives a restart of its workers: what they left must not be read again.
  if (read.has("TORCHELASTIC_RESTART_COUNT")) {
    env.key_prefix += "/" + read.text("TORCHELASTIC_RESTART_COUNT");
  }
  return env;
}

LaunchEnv read_open_mpi(const Reader& read) {
  LaunchEnv env;
  env.launcher = Launcher::kOpenMpi;
  read.first_of({"OMPI_COMM_WORLD_SIZE"}, "OMPI_COMM_WORLD_RANK");
  read_rank_and_size(read, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", env);
  read_local_rank(read, {"OMPI_COMM_WORLD_LOCAL_RANK"}, env);
  return env;
}

LaunchEnv read_pmi(const Reader& read) {
  LaunchEnv env;
  env.launcher = Launcher::kPmi;
  const std::string rank_name = read.has("PMI_RANK") ? "PMI_RANK" : "PMIX_RANK";
  const std::string size_name = read.first_of(
      {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, rank_name);
  read_rank_and_size(read, rank_name, size_name, env);
  read_local_rank(read, {"MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID"}, env);
  return env;
}

// Another port for each job and step, out of the range that systems hand out by themselves.
int slurm_port(const Reader& read) {
  constexpr std::int64_t kFirst = 15000;
  constexpr std::int64_t kCount = 15000;
  const std::int64_t job = read.number("SLURM_JOB_ID", 0, INT64_MAX / 2);
  const std::int64_t step =
      read.has("SLURM_STEP_ID") ? read.number("SLURM_STEP_ID", 0, INT64_MAX / 2) : 0;
  return static_cast<int>(kFirst + (job % kCount + step % kCount * 997) % kCount);
}

std::string slurm_address(const Reader& read, const std::string& given) {
  const std::string name = read.first_of(
      {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_LAUNCH_NODE_IPADDR"}, given);
  if (name == "SLURM_LAUNCH_NODE_IPADDR") return read.text(name);
  const std::string host = detail::first_slurm_host(read.text(name));
  if (host.empty()) {
    fail(name, "its value \"" + read.text(name) + "\" names no host",
         "set MASTER_ADDR and MASTER_PORT");
  }
  return host;
}

LaunchEnv read_slurm(const Reader& read) {
  LaunchEnv env;
  env.launcher = Launcher::kSlurm;
  const std::string size_name =
      read.first_of({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, "SLURM_PROCID");
  read_rank_and_size(read, "SLURM_PROCID", size_name, env);
  read_local_rank(read, {"SLURM_LOCALID"}, env);
  if (read.has("SLURM_JOB_ID")) {
    env.key_prefix = "slurm-" + read.text("SLURM_JOB_ID") + "." + read.text("SLURM_STEP_ID");
  }
  read_master(read, env);
  if (env.world_size == 1) return env;
  if (env.master_addr.empty()) env.master_addr = slurm_address(read, "SLURM_PROCID");
  if (env.master_port == 0) {
    read.first_of({"MASTER_PORT", "SLURM_JOB_ID"}, "SLURM_PROCID");
    env.master_port = slurm_port(read);
  }
  return env;
}

LaunchEnv read_explicit(const Reader& read, const LaunchOverride& override) {
  if (!override.rank || !override.world_size) {
    fail(override.rank ? "world_size" : "rank",
         std::string("not set, but ") + (override.rank ? "rank" : "world_size") + " is",
         "set both, or neither to ask the launcher");
  }
  LaunchEnv env;
  env.launcher = Launcher::kExplicit;
  env.rank = *override.rank;
  env.world_size = *override.world_size;
  check_range(env.rank, env.world_size, "rank", "world_size");
  if (!override.master_addr || !override.master_port) read_master(read, env);
  return env;
}

LaunchEnv read_launcher(const Reader& read) {
  if (read.has("RANK") || read.has("WORLD_SIZE")) return read_torchrun(read);
  if (read.has("OMPI_COMM_WORLD_RANK")) return read_open_mpi(read);
  if (read.has("PMI_RANK") || read.has("PMIX_RANK")) return read_pmi(read);
  if (read.has("SLURM_PROCID")) return read_slurm(read);
  return LaunchEnv{};
}

void apply_places(const LaunchOverride& override, LaunchEnv& env) {
  if (override.local_rank) env.local_rank = *override.local_rank;
  if (env.local_rank < 0) fail("local_rank", "is negative", "ranks count from 0");
  if (override.master_addr) env.master_addr = *override.master_addr;
  if (override.master_port) {
    env.master_port = *override.master_port;
    if (env.master_port < 1 || env.master_port > kMaxPort) {
      fail("master_port", "its value " + std::to_string(env.master_port) + " is not a port",
           "choose one from 1 to 65535");
    }
  }
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
  const Reader read(environment);
  LaunchEnv env =
      override.rank || override.world_size ? read_explicit(read, override) : read_launcher(read);
  apply_places(override, env);
  if (env.launcher == Launcher::kTorchrun) require_master(env, "RANK and WORLD_SIZE are");
  if (env.launcher == Launcher::kExplicit) require_master(env, "rank and world_size are");
  return env;
}

const char* to_string(Launcher launcher) noexcept {
  switch (launcher) {
    case Launcher::kExplicit:
      return "options";
    case Launcher::kTorchrun:
      return "torchrun";
    case Launcher::kOpenMpi:
      return "Open MPI";
    case Launcher::kPmi:
      return "PMI";
    case Launcher::kSlurm:
      return "Slurm";
    case Launcher::kSingle:
      return "a single process";
  }
  return "a single process";
}

}  // namespace fakescore
