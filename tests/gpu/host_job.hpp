#pragma once

#include <c10/core/DeviceGuard.h>
#include <gtest/gtest.h>
#include <nccl.h>

#include <cstring>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::testing {

/// What a host job makes for itself before it hands it to fakescore. Collective over
/// `communicator`.
inline ncclComm_t make_host_nccl(Communicator& communicator, at::Device device,
                                 bool is_blocking = true) {
  const c10::DeviceGuard guard(device);
  ncclUniqueId id{};
  if (communicator.rank() == 0) {
    EXPECT_EQ(ncclGetUniqueId(&id), ncclSuccess);
  }
  const std::string bytes = communicator.broadcast_message(
      std::string(id.internal, sizeof id.internal), 0, "the host job's id");
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);
  ncclComm_t comm = nullptr;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = is_blocking ? 1 : 0;
  ncclResult_t state =
      ncclCommInitRankConfig(&comm, communicator.world_size(), id, communicator.rank(), &config);
  while (state == ncclInProgress) EXPECT_EQ(ncclCommGetAsyncError(comm, &state), ncclSuccess);
  EXPECT_EQ(state, ncclSuccess);
  return comm;
}

/// Rank 0 serves it.
inline c10::intrusive_ptr<c10d::Store> make_host_store(Communicator& communicator) {
  c10d::TCPStoreOptions options;
  options.isServer = communicator.rank() == 0;
  options.waitWorkers = false;
  options.port = 0;
  c10::intrusive_ptr<c10d::TCPStore> store;
  if (communicator.rank() == 0) store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  const std::string port = communicator.broadcast_message(
      store ? std::to_string(store->getPort()) : "", 0, "the host job's port");
  options.port = static_cast<uint16_t>(std::stoi(port));
  if (!store) store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  return store;
}

inline c10::intrusive_ptr<c10d::ProcessGroup> make_host_process_group(Communicator& communicator) {
  const auto store = make_host_store(communicator);
  const int rank = communicator.rank();
  const int size = communicator.world_size();
  auto group = c10::make_intrusive<c10d::ProcessGroup>(store, rank, size);
  group->setBackend(at::kCUDA, c10d::ProcessGroup::BackendType::NCCL,
                    c10::make_intrusive<c10d::ProcessGroupNCCL>(
                        store, rank, size, c10d::ProcessGroupNCCL::Options::create()));
  return group;
}

}  // namespace fakescore::testing
