#pragma once

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
/// the job's TCPStore under torchrun and Slurm, a local one of size 1 otherwise.
/// Throws ConfigError where the launcher needs a backend that this build lacks, or where MPI was
/// started with another world than the launcher's variables say; CommError where the store cannot
/// be reached within the timeout.
FAKESCORE_API std::unique_ptr<Communicator> make_communicator(
    const LaunchEnv& env, std::chrono::milliseconds timeout = kDefaultTimeout);

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
/// initialised here only where nobody did, with MPI_THREAD_SERIALIZED, and then finalised at
/// process exit by this library unless the communicator is broken. Throws ConfigError in a build
/// without MPI.
FAKESCORE_API std::unique_ptr<Communicator> make_mpi_communicator(
    std::chrono::milliseconds timeout = kDefaultTimeout);

}  // namespace fakescore
