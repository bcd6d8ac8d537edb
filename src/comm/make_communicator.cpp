#include "fakescore/comm/make_communicator.hpp"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "comm/store_server.hpp"
#include "fakescore/core/error.hpp"

namespace fakescore {
namespace {

std::unique_ptr<Communicator> make_tcp_store_communicator(const LaunchEnv& env,
                                                          std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(env.master_port);
  options.isServer = !env.agent_hosts_store && env.rank == 0;
  options.waitWorkers = false;
  options.timeout = timeout;
  c10::intrusive_ptr<c10d::Store> store;
  try {
    store = c10::make_intrusive<c10d::TCPStore>(env.master_addr, options);
  } catch (const c10::Error& error) {
    throw_error({ErrorCode::kPeerLost, 0, "launch",
                 "store at " + env.master_addr + ":" + std::to_string(env.master_port),
                 std::string("cannot be reached: ") + error.what_without_backtrace(),
                 "check MASTER_ADDR and MASTER_PORT, and that rank 0 was started"});
  }
  return detail::make_store_communicator(std::move(store), env.rank, env.world_size, env.key_prefix,
                                         timeout, options.isServer);
}

std::unique_ptr<Communicator> make_launched_mpi_communicator(const LaunchEnv& env,
                                                             std::chrono::milliseconds timeout) {
  if (!has_mpi()) {
    throw_error({ErrorCode::kConfig, env.rank, "launch",
                 std::string("launcher ") + to_string(env.launcher),
                 "needs MPI, which this build of fakescore lacks",
                 "start with torchrun, or build with FAKESCORE_WITH_MPI=ON"});
  }
  auto communicator = make_mpi_communicator(timeout);
  if (communicator->world_size() != env.world_size || communicator->rank() != env.rank) {
    throw_error({ErrorCode::kConfig, env.rank, "launch",
                 std::string("launcher ") + to_string(env.launcher),
                 "says rank " + std::to_string(env.rank) + " of " + std::to_string(env.world_size) +
                     ", MPI says rank " + std::to_string(communicator->rank()) + " of " +
                     std::to_string(communicator->world_size()),
                 "use the mpirun of the MPI that fakescore was built with"});
  }
  return communicator;
}

}  // namespace

std::unique_ptr<Communicator> make_communicator(const LaunchEnv& env,
                                                std::chrono::milliseconds timeout) {
  switch (env.launcher) {
    case Launcher::kOpenMpi:
    case Launcher::kPmi:
      return make_launched_mpi_communicator(env, timeout);
    case Launcher::kTorchrun:
    case Launcher::kSlurm:
    case Launcher::kExplicit:
      if (env.world_size > 1) return make_tcp_store_communicator(env, timeout);
      break;
    case Launcher::kSingle:
      break;
  }
  return std::move(make_local_communicators(1, timeout).front());
}

}  // namespace fakescore
