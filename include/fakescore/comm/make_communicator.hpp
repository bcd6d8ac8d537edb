#pragma once

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/comm/launch_env.hpp"
#include "fakescore/export.hpp"

namespace c10d {
class Store;
}

namespace fakescore {

/// The communicator that fits how the process was started: MPI under mpirun and PMI launchers,
/// the job's TCPStore under torchrun and Slurm, a local one of size 1 otherwise. Where `device` is
/// a GPU, NCCL carries the bulk data, and that communicator the control messages; without an index
/// it is the GPU of the process's local rank.
/// Throws ConfigError where the launcher needs a backend that this build lacks, or where MPI was
/// started with another world than the launcher's variables say; CommError where the store cannot
/// be reached within the timeout.
FAKESCORE_API std::unique_ptr<Communicator> make_communicator(
    const LaunchEnv& env, std::chrono::milliseconds timeout = kDefaultTimeout,
    at::Device device = at::kCPU);

/// Collective over `control`, which it takes: NCCL between one GPU a rank for bulk data, `control`
/// for messages. `device` is this rank's GPU, with its index. Broadcasts are work on the calling
/// thread's current stream. A thread of the communicator's own watches NCCL: where a broadcast
/// makes no progress within timeout() or NCCL reports an error, it aborts NCCL, so that streams are
/// free again, and the call that waits throws CommError, as do the other ranks' calls, naming the
/// broadcast, NCCL's error and the ranks that do not answer over `control`.
/// Throws, the same on every rank: ConfigError for a build or machine without CUDA, for a device
/// that is not there, and where two ranks have one GPU; CommError where NCCL cannot be initialised
/// within the timeout.
FAKESCORE_API std::unique_ptr<Communicator> make_nccl_communicator(
    std::unique_ptr<Communicator> control, at::Device device);

/// `world_size` communicators for as many threads of this process; element i is rank i's. With
/// world_size 1 this is the communicator of a single process.
FAKESCORE_API std::vector<std::unique_ptr<Communicator>> make_local_communicators(
    int world_size, std::chrono::milliseconds timeout = kDefaultTimeout);

/// Over a c10d store shared by the ranks (TCPStore, HashStore, ...). The store is used under keys
/// that start with "fakescore/" and `key_prefix`; keys are deleted once read. Bulk data goes
/// through the store in chunks of at most 1 MiB: for tests and small models.
FAKESCORE_API std::unique_ptr<Communicator> make_store_communicator(
    c10::intrusive_ptr<c10d::Store> store, int rank, int world_size, const std::string& key_prefix,
    std::chrono::milliseconds timeout = kDefaultTimeout);

/// Whether this build has the MPI backend.
FAKESCORE_API bool has_mpi() noexcept;

/// Over a duplicate of MPI_COMM_WORLD. Collective; MPI_Init itself has no deadline. MPI is
/// initialised here only where nobody did, with MPI_THREAD_MULTIPLE, and then finalised at
/// process exit by this library unless the communicator is broken. Throws ConfigError in a build
/// without MPI.
FAKESCORE_API std::unique_ptr<Communicator> make_mpi_communicator(
    std::chrono::milliseconds timeout = kDefaultTimeout);

}  // namespace fakescore
