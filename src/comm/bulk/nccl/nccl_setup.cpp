// Setting up NCCL: which GPU is whose, the id over the control plane, initialisation with a
// deadline.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include "comm/bulk/nccl/nccl_plane.hpp"
#include "comm/control/periodic.hpp"
#include "comm/host.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fakescore/tensor/cuda.hpp"

namespace fakescore {
namespace {

constexpr const char* kPhase = "nccl";
constexpr std::chrono::milliseconds kPoll{1};
constexpr int kManyRanksOnOneGpu = 23000;  // the NCCL version, as NCCL writes it, that allows it

/// "host, GPU 0000:01:00.0": two ranks with the same seat share a GPU.
std::string find_seat(at::Device device) {
  load_cuda();
  const int count = c10::cuda::device_count();
  if (!device.is_cuda() || !device.has_index() || static_cast<int>(device.index()) >= count) {
    throw ConfigError(
        "device " + device.str(),
        "is not one of the " + std::to_string(count) + " GPUs visible to this process",
        "start at most one rank for each GPU of a host, or choose the device by its index");
  }
  // Makes the device's context, for which a GPU may be too full or another process's alone.
  const c10::cuda::CUDAGuard guard(device);
  C10_CUDA_CHECK(cudaFree(nullptr));
  char bus[32] = {};
  C10_CUDA_CHECK(cudaDeviceGetPCIBusId(bus, sizeof bus, device.index()));
  // NCCL tells hosts apart by both: it takes one GPU of two host names for two.
  return detail::host_name() + ' ' + detail::host_id() + ", GPU " + bus;
}

bool may_share_gpus() {
  int version = 0;
  const char* enabled = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  return ncclGetVersion(&version) == ncclSuccess && version >= kManyRanksOnOneGpu &&
         enabled != nullptr && std::strcmp(enabled, "1") == 0;
}

/// What a rank says of itself: kShares or kOwn, and its seat.
constexpr char kShares = 's';
constexpr char kOwn = 'o';

std::string describe_seat(at::Device device) {
  return (may_share_gpus() ? kShares : kOwn) + find_seat(device);
}

/// NCCL would fail in the middle of its initialisation, in other words on every rank.
void require_own_gpus(const std::vector<std::string>& ranks) {
  std::map<std::string, size_t> taken;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const std::string seat = ranks[rank].substr(1);
    const auto [first, is_free] = taken.try_emplace(seat, rank);
    const bool both_share = ranks[first->second].front() == kShares && ranks[rank][0] == kShares;
    if (is_free || both_share) continue;
    throw_error(
        {ErrorCode::kConfig, static_cast<int>(rank), "", "device cuda",
         "ranks " + std::to_string(first->second) + " and " + std::to_string(rank) +
             " use the same GPU (" + seat + ")",
         "start at most one rank for each GPU of a host; with NCCL 2.30 and later ranks may "
         "share one if all of them set NCCL_MULTI_RANK_GPU_ENABLE=1"});
  }
}

void agree_on_seats(Communicator& control, at::Device device) {
  std::string seat;
  run_agreed(control, kPhase, ErrorCode::kConfig, [&] { seat = describe_seat(device); });
  // Which ranks share a GPU takes all seats, and is asked once.
  require_own_gpus(control.all_gather(seat, "nccl seats"));
}

ncclUniqueId share_id(Communicator& control) {
  ncclUniqueId id{};
  run_agreed(control, kPhase, ErrorCode::kConfig, [&] {
    const ncclResult_t result = control.rank() == 0 ? ncclGetUniqueId(&id) : ncclSuccess;
    if (result == ncclSuccess) return;
    throw_error({ErrorCode::kConfig, 0, kPhase, "ncclGetUniqueId",
                 detail::describe_nccl(result, nullptr),
                 "check NCCL_SOCKET_IFNAME and run with NCCL_DEBUG=INFO"});
  });
  const std::string message =
      control.broadcast_message(std::string(id.internal, sizeof id.internal), 0, "nccl id");
  std::memcpy(id.internal, message.data(), sizeof id.internal);
  return id;
}

/// Also where the control plane itself is lost.
bool has_given_up(Communicator& control) {
  try {
    return control.peer_abandoned();
  } catch (const CommError&) {
    return true;
  }
}

/// Starts the initialisation, which goes on in the background, and polls it.
ncclComm_t initialise(Communicator& control, const ncclUniqueId& id) {
  detail::Deadline deadline(control.timeout());
  ncclComm_t comm = nullptr;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclResult_t state =
      ncclCommInitRankConfig(&comm, control.world_size(), id, control.rank(), &config);
  detail::Periodic control_look;
  bool peer_gave_up = false;
  while (state == ncclInProgress && !peer_gave_up && !deadline.passed()) {
    std::this_thread::sleep_for(kPoll);
    const ncclResult_t asked = ncclCommGetAsyncError(comm, &state);
    if (asked != ncclSuccess) state = asked;
    peer_gave_up = control_look.is_due() && has_given_up(control);
  }
  if (state == ncclSuccess) return comm;
  std::string reason;
  if (!peer_gave_up) {
    reason = "NCCL initialisation: " +
             (state == ncclInProgress ? "did not end in time" : detail::describe_nccl(state, comm));
  }
  // The census first: the abort may take longer than the others listen.
  const ErrorInfo verdict = control.abandon(reason);
  if (comm != nullptr) ncclCommAbort(comm);
  throw CommError(verdict);
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> control,
                                                     at::Device device) {
  agree_on_seats(*control, device);
  const ncclUniqueId id = share_id(*control);
  const c10::cuda::CUDAGuard guard(device);
  const ncclComm_t comm = initialise(*control, id);
  auto communicator = detail::add_nccl(*control, device, comm, detail::NcclOwnership::kOwned);
  // A rank whose initialisation failed says so here.
  communicator->compare("", "nccl ready");
  return communicator;
}

}  // namespace fakescore
