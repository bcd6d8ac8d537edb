#include "comm/bulk/nccl/nccl_link.hpp"

#include <c10/cuda/CUDAStream.h>

#include "comm/control/periodic.hpp"
#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {
namespace {

constexpr std::chrono::microseconds kNap{100};

}  // namespace

NcclLink::NcclLink(ncclComm_t comm, at::Device device, NcclOwnership ownership,
                   std::optional<c10::Stream> lane)
    : device_(device),
      lane_(lane),
      watch_(std::make_shared<NcclWatch>(comm, device, ownership)),
      watchdog_([watch = watch_] { watch->run(); }) {}

NcclLink::~NcclLink() {
  watch_->stop();
  if (watch_->wait_ended(ControlPlane::kPeerCensus)) {
    watchdog_.join();
  } else {
    watchdog_.detach();
  }
}

std::shared_ptr<NcclLaunch> NcclLink::broadcast(const std::vector<at::Tensor>& buffers, int root,
                                                const std::string& what,
                                                std::chrono::milliseconds timeout,
                                                const Poll& peer_gave_up) {
  Operations operations;
  for (const at::Tensor& buffer : buffers) {
    if (buffer.numel() == 0) continue;
    operations.push_back([buffer, root](ncclComm_t comm, cudaStream_t stream) {
      void* data = buffer.mutable_data_ptr();
      return ncclBroadcast(data, data, static_cast<size_t>(buffer.numel()), ncclUint8, root, comm,
                           stream);
    });
  }
  return launch(buffers, operations, what, timeout, peer_gave_up);
}

std::shared_ptr<NcclLaunch> NcclLink::exchange(const Exchange& exchange, const std::string& what,
                                               std::chrono::milliseconds timeout,
                                               const Poll& peer_gave_up) {
  Operations operations;
  const auto add = [&](const at::Tensor& buffer, const std::vector<Parcel>& parcels, auto call) {
    auto* data = static_cast<std::byte*>(buffer.mutable_data_ptr());
    for (const Parcel& parcel : parcels) {
      if (parcel.bytes == 0) continue;
      operations.push_back([data, parcel, call](ncclComm_t comm, cudaStream_t stream) {
        return call(data, static_cast<size_t>(parcel.bytes), ncclUint8, parcel.rank, comm, stream);
      });
      data += parcel.bytes;
    }
  };
  add(exchange.outgoing, exchange.sends, ncclSend);
  add(exchange.incoming, exchange.receives, ncclRecv);
  return launch({exchange.outgoing, exchange.incoming}, operations, what, timeout, peer_gave_up);
}

std::shared_ptr<NcclLaunch> NcclLink::launch(const std::vector<at::Tensor>& buffers,
                                             const Operations& operations, const std::string& what,
                                             std::chrono::milliseconds timeout,
                                             const Poll& peer_gave_up) {
  auto launch = std::make_shared<NcclLaunch>();
  launch->what = what;
  launch->buffers = buffers;
  const c10::Stream current = c10::cuda::getCurrentCUDAStream(device_.index());
  const c10::Stream stream = lane_.value_or(current);
  prepare(buffers, current, stream);
  const ncclComm_t comm = watch_->begin(launch, timeout);
  if (comm == nullptr) return launch;
  // A communicator that blocks may wait here for a peer: only an abort gets it out.
  ncclResult_t result = enqueue(comm, operations, stream);
  watch_->end_call();
  result = poll_until_enqueued(result, what, peer_gave_up);
  if (result != ncclSuccess) {
    watch_->fail(what, result);
  } else if (watch_->mark_enqueued(*launch, stream) && lane_) {
    launch->done.block(current);
  }
  return launch;
}

void NcclLink::prepare(const std::vector<at::Tensor>& buffers, const c10::Stream& current,
                       const c10::Stream& stream) {
  if (lane_) {
    // The allocator must not learn of the host job's stream, which may end before the buffers: the
    // launch keeps them.
    c10::Event before(c10::DeviceType::CUDA);
    before.record(current);
    before.block(stream);
    return;
  }
  // It must not hand the memory out again before NCCL is done with it.
  for (const at::Tensor& buffer : buffers) {
    if (buffer.numel() > 0) buffer.record_stream(stream);
  }
}

ncclResult_t NcclLink::enqueue(ncclComm_t comm, const Operations& operations,
                               const c10::Stream& stream) noexcept {
  const c10::cuda::CUDAStream cuda_stream(stream);
  ncclResult_t result = ncclGroupStart();
  for (const auto& operation : operations) {
    if (result != ncclSuccess) break;
    result = operation(comm, cuda_stream);
    if (result == ncclInProgress) result = ncclSuccess;
  }
  const ncclResult_t ended = ncclGroupEnd();
  return result == ncclSuccess ? ended : result;
}

/// A communicator that does not block takes its work in the background. The watchdog keeps the
/// deadline meanwhile.
ncclResult_t NcclLink::poll_until_enqueued(ncclResult_t result, const std::string& what,
                                           const Poll& peer_gave_up) {
  Periodic control_look;
  while (result == ncclInProgress) {
    std::this_thread::sleep_for(kNap);
    if (control_look.is_due() && peer_gave_up()) watch_->fail({what, ""});
    result = watch_->async_error();
  }
  return result;
}

}  // namespace fakescore::detail
