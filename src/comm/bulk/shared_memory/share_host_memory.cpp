// Bulk data between ranks of one host: how they come to share memory.
#include <optional>
#include <utility>
#include <vector>

#include "comm/bulk/shared_memory/segment_layout.hpp"
#include "comm/bulk/shared_memory/shared_backend.hpp"
#include "comm/bulk/shared_memory/shared_memory_plane.hpp"
#include "comm/host.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace detail {
namespace {

std::optional<SharedSegment> try_to_make(size_t bytes) {
  try {
    return SharedSegment::make(bytes);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::optional<SharedMemory> try_to_open(const std::vector<std::optional<SegmentAddress>>& addresses,
                                        size_t bytes) {
  SharedMemory shared;
  try {
    for (const auto& address : addresses) {
      if (!address) return std::nullopt;
      shared.segments.push_back(SharedSegment::open(*address, bytes));
      shared.processes.emplace_back(address->process);
    }
  } catch (const std::exception&) {
    return std::nullopt;
  }
  return shared;
}

std::vector<std::optional<SegmentAddress>> gather_addresses(
    ControlPlane& control, const std::optional<SharedSegment>& own) {
  std::optional<SegmentAddress> address;
  if (own) address = own->address();
  std::vector<std::optional<SegmentAddress>> addresses;
  for (const std::string& message : control.all_gather(to_wire(address), kSharedMemory)) {
    addresses.push_back(
        std::get<0>(from_wire<std::optional<SegmentAddress>>(message, kSharedMemory)));
  }
  return addresses;
}

/// Collective; null on every rank if memory cannot be shared.
std::shared_ptr<BulkPlane> share_memory(const std::shared_ptr<ControlPlane>& control) {
  if (control->world_size() == 1 || control->world_size() > kMostSharingRanks) return nullptr;
  if (!are_on_one_host(control->compare(host_id(), "hosts"))) return nullptr;
  const size_t bytes = SegmentLayout(control->world_size()).bytes();
  const auto own = try_to_make(bytes);
  auto shared = try_to_open(gather_addresses(*control, own), bytes);
  // Nobody's is closed before all have opened it.
  const Comparison ready = control->compare(shared ? "shared" : "", kSharedMemory);
  if (!ready.is_same() || ready.of_rank_0.empty()) return nullptr;
  return make_shared_memory_plane(control, std::move(*shared));
}

}  // namespace
}  // namespace detail

std::unique_ptr<Communicator> share_host_memory(std::unique_ptr<Communicator> communicator) {
  if (detail::shares_memory(communicator->host_plane()->backend())) return communicator;
  auto shared = detail::share_memory(communicator->control_plane());
  if (!shared) return communicator;
  return std::make_unique<Communicator>(communicator->control_plane(), std::move(shared),
                                        communicator->gpu_plane());
}

}  // namespace fakescore
