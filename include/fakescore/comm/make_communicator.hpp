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
/// the job's TCPStore under torchrun and Slurm, a local one of size 1 otherwise. If `device` is a
/// GPU, NCCL carries the bulk data and that communicator the control messages; a `device` without
/// an index means the GPU of the process's local rank.
/// Throws ConfigError if the launcher needs a backend that this build lacks, or if MPI's rank and
/// size are not those of the launcher's variables; CommError if the store cannot be reached within
/// the timeout.
FAKESCORE_API std::unique_ptr<Communicator> make_communicator(
    const LaunchEnv& env, std::chrono::milliseconds timeout = kDefaultTimeout,
    at::Device device = at::kCPU);

/// A communicator with one GPU for each rank: NCCL carries bulk data, `control` the messages.
/// Collective over `control`, whose ownership it takes. `device` is this rank's GPU, with its
/// index. Broadcasts are work on the calling thread's current stream. The communicator has a thread
/// that watches NCCL. If a broadcast makes no progress within timeout(), or NCCL reports an error,
/// the thread aborts NCCL, so that streams are free again. The waiting call then throws CommError,
/// as do the other ranks' calls, naming the broadcast, NCCL's error and the ranks that do not
/// answer over `control`. Throws, the same on every rank: ConfigError for a build or machine
/// without CUDA, for a device that does not exist, and if two ranks use one GPU; CommError if NCCL
/// cannot be initialised within the timeout.
FAKESCORE_API std::unique_ptr<Communicator> make_nccl_communicator(
    std::unique_ptr<Communicator> control, at::Device device);

/// Communicators for `world_size` threads of this process; element i is rank i's. With world_size 1
/// this is the communicator of a single process. Throws ConfigError if `world_size` is less than 1.
FAKESCORE_API std::vector<std::unique_ptr<Communicator>> make_local_communicators(
    int world_size, std::chrono::milliseconds timeout = kDefaultTimeout);

/// A communicator over a c10d store shared by the ranks (TCPStore, HashStore, ...). Its keys start
/// with "fakescore/" and `key_prefix`, and are deleted once every rank has read them, the last ones
/// when the communicators are destroyed. Bulk data goes through the store in chunks of at most
/// 1 MiB: for tests and small models.
FAKESCORE_API std::unique_ptr<Communicator> make_store_communicator(
    c10::intrusive_ptr<c10d::Store> store, int rank, int world_size, const std::string& key_prefix,
    std::chrono::milliseconds timeout = kDefaultTimeout);

/// Takes a communicator's bulk data in host memory through memory that its ranks share: each byte
/// is copied twice, and no system call moves it. Returns `communicator` as it is, on every rank, if
/// its ranks are not processes of one host that may look into each other (/proc/PID/fd, as
/// containers of their own do not let them), are more than 256, or one of them gets no such memory.
/// Collective, and takes its ownership. A rank holds what it writes to: 8 MiB for what it
/// broadcasts, and for what it sends 8 MiB, or 256 KiB for each other rank if that is more; its
/// peers map that. A peer whose process ends while bytes are awaited from it, or room for some, is
/// lost at once, or before Linux 5.3 within the timeout. Throws CommError.
FAKESCORE_API std::unique_ptr<Communicator> share_host_memory(
    std::unique_ptr<Communicator> communicator);

/// Whether this build has the MPI backend.
FAKESCORE_API bool has_mpi() noexcept;

/// Over a duplicate of MPI_COMM_WORLD. Collective; MPI_Init itself has no deadline. MPI is
/// initialised here only where nobody did, with MPI_THREAD_MULTIPLE, and then finalised at
/// process exit by this library unless the communicator is broken. Throws ConfigError in a build
/// without MPI.
FAKESCORE_API std::unique_ptr<Communicator> make_mpi_communicator(
    std::chrono::milliseconds timeout = kDefaultTimeout);

}  // namespace fakescore
