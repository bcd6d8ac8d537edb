#include "comm/control/mpi_session.hpp"

#include <atomic>
#include <cstdlib>
#include <thread>

#include "comm/control/deadline.hpp"
#include "comm/control/mpi_check.hpp"
#include "comm/control/mpi_start.hpp"

namespace fakescore::detail {
namespace {

// MPI itself is one per process, and so is whether it may be finalised.
std::atomic<bool> keep_initialised{false};

bool finalised() {
  int flag = 0;
  MPI_Finalized(&flag);
  return flag != 0;
}

void finalise_at_exit() {
  // MPI_Finalize waits for every rank. With one lost it would hang, and mpirun ends the job anyway.
  if (!keep_initialised && !finalised()) MPI_Finalize();
}

void ensure_initialised() {
  if (finalised()) {
    throw ConfigError("MPI", "is finalised already in this process",
                      "make the communicator before MPI_Finalize");
  }
  int flag = 0;
  MPI_Initialized(&flag);
  if (flag) return;
  check_that_srun_started_mpi();
  // With less a rank that is at work on a long step of its own cannot say so.
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  std::atexit(finalise_at_exit);
}

/// Called when the attribute goes: by close_group, or by MPI_Finalize of the host program.
int free_group(MPI_Comm, int, void* attribute, void*) {
  auto* holder = static_cast<std::shared_ptr<MpiGroup>*>(attribute);
  MpiGroup& group = **holder;
  group.closed = true;
  if (!group.keep) {
    for (MPI_Comm* comm : {&group.control, &group.bulk, &group.census}) MPI_Comm_free(comm);
  }
  delete holder;
  return MPI_SUCCESS;
}

MPI_Comm duplicate_world(Deadline& deadline, std::chrono::milliseconds timeout) {
  // MPI writes the handle when the request ends, which may be after this gives up.
  auto copy = std::make_unique<MPI_Comm>(MPI_COMM_NULL);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Comm_idup(MPI_COMM_WORLD, copy.get(), &request), "MPI_Comm_idup");
  for (int done = 0; !done;) {
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Comm_idup");
    if (done) break;
    if (deadline.passed()) {
      (void)copy.release();
      keep_mpi_initialised();
      throw CommError(
          {ErrorCode::kPeerLost, -1, "", "start of the mpi communicator",
           "not every rank made its communicator within " + std::to_string(timeout.count()) + " ms",
           "make the communicator on every rank, or raise the timeout"});
    }
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  check_mpi(MPI_Comm_set_errhandler(*copy, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return *copy;
}

}  // namespace

std::shared_ptr<MpiGroup> open_group(std::chrono::milliseconds timeout) {
  ensure_initialised();
  Deadline deadline(timeout);
  auto group = std::make_shared<MpiGroup>();
  group->control = duplicate_world(deadline, timeout);
  group->bulk = duplicate_world(deadline, timeout);
  group->census = duplicate_world(deadline, timeout);
  check_mpi(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, free_group, &group->keyval, nullptr),
            "MPI_Comm_create_keyval");
  auto* holder = new std::shared_ptr<MpiGroup>(group);
  check_mpi(MPI_Comm_set_attr(MPI_COMM_SELF, group->keyval, holder), "MPI_Comm_set_attr");
  return group;
}

void close_group(const std::shared_ptr<MpiGroup>& group) noexcept {
  if (group->closed || group->keep || finalised()) return;
  MPI_Comm_delete_attr(MPI_COMM_SELF, group->keyval);
  MPI_Comm_free_keyval(&group->keyval);
}

void keep_mpi_initialised() noexcept { keep_initialised = true; }

}  // namespace fakescore::detail
