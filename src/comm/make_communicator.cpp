#include "fakescore/comm/make_communicator.hpp"

#include <algorithm>

#include "comm/control/store_door.hpp"
#include "comm/control/store_planes.hpp"
#include "comm/launch/job_port.hpp"
#include "fakescore/error.hpp"
#include "fakescore/tensor/cuda.hpp"

namespace fakescore {
namespace {

std::unique_ptr<Communicator> join_store(const LaunchEnv& env, std::chrono::milliseconds timeout) {
  const std::string where = env.master_addr + ":" + std::to_string(env.master_port);
  const bool serves = !env.agent_hosts_store && env.rank == 0;
  auto store = detail::join_tcp_store({env.master_addr, env.master_port, serves,
                                       env.agent_hosts_store ? -1 : 0, detail::store_remedy(env)},
                                      std::min(timeout, Communicator::kLongestTimeout));
  detail::StoreServer server;
  if (env.agent_hosts_store) {
    server.name = "torchrun's store at " + where;
  } else {
    server.name = "rank 0's store at " + where;
    server.rank = 0;
  }
  return detail::make_store_communicator(std::move(store), env.rank, env.world_size, env.key_prefix,
                                         timeout, std::move(server));
}

std::unique_ptr<Communicator> join_mpi(const LaunchEnv& env, std::chrono::milliseconds timeout) {
  if (!has_mpi() && env.world_size == 1) {
    return std::move(make_local_communicators(1, timeout).front());
  }
  auto communicator = make_mpi_communicator(timeout);
  if (communicator->world_size() != env.world_size || communicator->rank() != env.rank) {
    throw ConfigError(to_string(env.launcher),
                      "the launcher says rank " + std::to_string(env.rank) + " of " +
                          std::to_string(env.world_size) + ", MPI says " +
                          std::to_string(communicator->rank()) + " of " +
                          std::to_string(communicator->world_size()),
                      "start the job with the mpirun of the MPI that fakescore was built with");
  }
  return communicator;
}

std::unique_ptr<Communicator> make_host_communicator(const LaunchEnv& env,
                                                     std::chrono::milliseconds timeout) {
  if (env.launcher == Launcher::kOpenMpi || env.launcher == Launcher::kPmi) {
    return join_mpi(env, timeout);
  }
  if (env.world_size == 1) return std::move(make_local_communicators(1, timeout).front());
  return join_store(env, timeout);
}

}  // namespace

std::unique_ptr<Communicator> make_communicator(const LaunchEnv& env,
                                                std::chrono::milliseconds timeout,
                                                at::Device device) {
  auto communicator = make_host_communicator(env, timeout);
  if (device.is_cpu()) return communicator;
  if (!device.has_index()) device = gpu_of_local_rank(env.local_rank);
  return make_nccl_communicator(std::move(communicator), device);
}

}  // namespace fakescore
