#include "nccl/group.hpp"

#include <nccl.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <utility>
#include <vector>

#include "nccl/communicator_table.hpp"
#include "runtime/broken_device.hpp"
#include "runtime/counters.hpp"
#include "runtime/device.hpp"
#include "runtime/fatal.hpp"

namespace fakescore::emulation {
namespace {

struct Call {
  std::shared_ptr<Communicator> communicator;
  std::shared_ptr<Stream> stream;
  NcclOperation operation;
};

/// What a thread has called since ncclGroupStart.
struct Group {
  int depth = 0;
  ncclResult_t error =
      ncclSuccess;  ///< the first one: ncclGroupEnd returns it and launches nothing
  std::vector<Call> calls;
};

Group& group() {
  thread_local Group group;
  return group;
}

ncclResult_t refuse(ncclResult_t error, const NcclOperation& operation, const std::string& why) {
  const std::string text = std::string(name_of(operation.kind)) + ": " + why;
  complain(text);
  set_last_nccl_error(text);
  return error;
}

/// The range that a rank reads, and the one that it writes; 0 bytes where it does not.
struct Extent {
  uint64_t input;
  uint64_t output;
};

Extent extent_of(const NcclOperation& operation, const Communicator& communicator) {
  const uint64_t bytes = operation.bytes();
  const uint64_t all = bytes * static_cast<uint64_t>(communicator.size());
  const bool is_root = operation.peer == communicator.rank();
  switch (operation.kind) {
    case NcclKind::kBroadcast:
      return {is_root ? bytes : 0, bytes};
    case NcclKind::kAllGather:
      return {bytes, all};
    case NcclKind::kAllReduce:
      return {bytes, bytes};
    case NcclKind::kReduce:
      return {bytes, is_root ? bytes : 0};
    case NcclKind::kReduceScatter:
      return {all, bytes};
    case NcclKind::kSend:
      return {bytes, 0};
    case NcclKind::kRecv:
      return {0, bytes};
  }
  return {};
}

ncclResult_t check_state(const NcclOperation& operation, const Communicator& communicator) {
  if (device_is_broken()) return refuse(ncclUnhandledCudaError, operation, "the device is broken");
  const ncclResult_t state = communicator.state();
  if (state == ncclInProgress) {
    return refuse(ncclInvalidArgument, operation,
                  "the communicator is used before its previous call returned ncclSuccess");
  }
  return state;
}

ncclResult_t check_arguments(const NcclOperation& operation, const Communicator& communicator) {
  if (operation.peer >= communicator.size()) {
    return refuse(ncclInvalidArgument, operation,
                  "there is no rank " + std::to_string(operation.peer));
  }
  const Extent extent = extent_of(operation, communicator);
  const DeviceMemory& memory = device(communicator.device()).memory();
  const auto is_good = [&](const void* address, uint64_t bytes) {
    return bytes == 0 || memory.holds(address, bytes);
  };
  if (is_good(operation.input, extent.input) && is_good(operation.output, extent.output)) {
    return ncclSuccess;
  }
  std::ostringstream text;
  text << "rank " << communicator.rank() << " gives " << operation.input << " to read "
       << extent.input << " bytes and " << operation.output << " to write " << extent.output
       << " bytes, not all of them inside live memory of its device " << communicator.device();
  return refuse(ncclInvalidArgument, operation, text.str());
}

std::shared_ptr<Stream> stream_of(const Communicator& communicator, cudaStream_t handle) {
  if (handle == nullptr) return device(communicator.device()).default_stream();
  auto stream = find_stream(handle);
  return stream == nullptr || stream->device() != communicator.device() ? nullptr : stream;
}

struct Launch {
  std::shared_ptr<Communicator> communicator;
  std::shared_ptr<Stream> stream;
  std::vector<NcclOperation> operations;
};

/// One for each communicator, in the order of their first calls.
std::vector<Launch> launches_of(std::vector<Call> calls) {
  std::vector<Launch> launches;
  while (!calls.empty()) {
    Launch launch{calls.front().communicator, calls.front().stream, {}};
    const auto rest = std::stable_partition(calls.begin(), calls.end(), [&](const Call& call) {
      return call.communicator == launch.communicator;
    });
    for (auto call = calls.begin(); call != rest; ++call) {
      if (call->stream != launch.stream) {
        not_emulated("a group with several streams of one communicator");
      }
      launch.operations.push_back(call->operation);
    }
    calls.erase(calls.begin(), rest);
    launches.push_back(std::move(launch));
  }
  return launches;
}

ncclResult_t launch(std::vector<Call> calls) {
  std::vector<Launch> launches = launches_of(std::move(calls));
  // All before any: a launch waits for its peers, which may be in this group as well, or wait for
  // another launch of it.
  for (const Launch& launch : launches) launch.communicator->announce(launch.operations);
  ncclResult_t result = ncclSuccess;
  for (Launch& launch : launches) {
    const ncclResult_t launched =
        launch.communicator->launch(launch.stream, std::move(launch.operations));
    if (launched != ncclSuccess && launched != ncclInProgress) return launched;
    if (result == ncclSuccess) result = launched;
  }
  return result;
}

ncclResult_t accept(const NcclOperation& operation, ncclComm_t handle, cudaStream_t stream_handle) {
  const auto communicator = find_communicator(handle);
  if (communicator == nullptr) return ncclInvalidArgument;
  if (const auto bad = check_state(operation, *communicator); bad != ncclSuccess) return bad;
  if (const auto bad = check_arguments(operation, *communicator); bad != ncclSuccess) return bad;
  const auto stream = stream_of(*communicator, stream_handle);
  if (stream == nullptr) {
    return refuse(ncclUnhandledCudaError, operation, "the stream is not one of its device");
  }
  LiveCounters& counters = live_counters();
  (operation.kind == NcclKind::kBroadcast ? counters.nccl_broadcast : counters.nccl_other)
      .add(operation.bytes());
  if (!is_in_group()) return launch({{communicator, stream, operation}});
  group().calls.push_back({communicator, stream, operation});
  return ncclSuccess;
}

ncclResult_t call(const NcclOperation& operation, ncclComm_t handle, cudaStream_t stream) {
  const ncclResult_t result = accept(operation, handle, stream);
  const bool is_error = result != ncclSuccess && result != ncclInProgress;
  if (is_error && is_in_group() && group().error == ncclSuccess) group().error = result;
  return result;
}

}  // namespace

bool is_in_group() { return group().depth > 0; }

}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

ncclResult_t ncclGroupStart() {
  group().depth += 1;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (group().depth == 0) return ncclInvalidUsage;
  group().depth -= 1;
  if (is_in_group()) return ncclSuccess;
  const Group finished = std::exchange(group(), {});
  return finished.error != ncclSuccess ? finished.error : launch(finished.calls);
}

ncclResult_t ncclBroadcast(const void* input, void* output, size_t count, ncclDataType_t type,
                           int root, ncclComm_t communicator, cudaStream_t stream) {
  return call({NcclKind::kBroadcast, input, output, count, type, ncclSum, root}, communicator,
              stream);
}

ncclResult_t ncclBcast(void* buffer, size_t count, ncclDataType_t type, int root,
                       ncclComm_t communicator, cudaStream_t stream) {
  return ncclBroadcast(buffer, buffer, count, type, root, communicator, stream);
}

ncclResult_t ncclAllGather(const void* input, void* output, size_t count, ncclDataType_t type,
                           ncclComm_t communicator, cudaStream_t stream) {
  return call({NcclKind::kAllGather, input, output, count, type, ncclSum, -1}, communicator,
              stream);
}

ncclResult_t ncclAllReduce(const void* input, void* output, size_t count, ncclDataType_t type,
                           ncclRedOp_t reduction, ncclComm_t communicator, cudaStream_t stream) {
  return call({NcclKind::kAllReduce, input, output, count, type, reduction, -1}, communicator,
              stream);
}

ncclResult_t ncclReduce(const void* input, void* output, size_t count, ncclDataType_t type,
                        ncclRedOp_t reduction, int root, ncclComm_t communicator,
                        cudaStream_t stream) {
  return call({NcclKind::kReduce, input, output, count, type, reduction, root}, communicator,
              stream);
}

ncclResult_t ncclReduceScatter(const void* input, void* output, size_t count, ncclDataType_t type,
                               ncclRedOp_t reduction, ncclComm_t communicator,
                               cudaStream_t stream) {
  return call({NcclKind::kReduceScatter, input, output, count, type, reduction, -1}, communicator,
              stream);
}

ncclResult_t ncclSend(const void* input, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t communicator, cudaStream_t stream) {
  return call({NcclKind::kSend, input, nullptr, count, type, ncclSum, peer}, communicator, stream);
}

ncclResult_t ncclRecv(void* output, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t communicator, cudaStream_t stream) {
  return call({NcclKind::kRecv, nullptr, output, count, type, ncclSum, peer}, communicator, stream);
}

}  // extern "C"
