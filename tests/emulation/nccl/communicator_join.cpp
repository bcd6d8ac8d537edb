// How the ranks of a communicator find each other.
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>

#include "nccl/communicator.hpp"
#include "runtime/device.hpp"

namespace fakescore::emulation {
namespace {

/// Ranks on one host must be on different devices. NCCL_HOSTID says, as to NCCL, which host this
/// is.
uint64_t host_hash() {
  if (const char* const given = std::getenv("NCCL_HOSTID")) return std::hash<std::string>{}(given);
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return std::hash<std::string>{}(name.data());
}

bool may_share_device() {
  const char* const text = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  return text != nullptr && std::string(text) == "1";
}

}  // namespace

ncclResult_t Communicator::join() {
  auto opened = Segment::open(id_);
  if (!opened) return fail(ncclSystemError, "the process that made the unique id is gone");
  segment_.emplace(std::move(*opened));
  Segment& segment = *segment_;
  int32_t agreed = 0;
  if (!segment->size.compare_exchange_strong(agreed, size_) && agreed != size_) {
    return fail(ncclInvalidArgument, "this rank says that there are " + std::to_string(size_) +
                                         " ranks, another says " + std::to_string(agreed));
  }
  if (!segment.claim(rank_)) {
    return fail(ncclInvalidUsage, "another process has joined as this rank");
  }
  RankRecord& record = segment->ranks[rank_];
  record.host = host_hash();
  record.device = emulation::device(device_).on_host();
  record.joined = true;
  segment->joined += 1;
  if (!wait_until([&] { return segment->joined >= size_; })) return why_over();
  Segment::forget(id_);
  return check_devices();
}

ncclResult_t Communicator::check_devices() {
  if (may_share_device()) return ncclSuccess;
  const RankRecord* const ranks = (*segment_)->ranks;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_ || ranks[peer].host != ranks[rank_].host) continue;
    if (ranks[peer].device != ranks[rank_].device) continue;
    return fail(ncclInvalidUsage, "duplicate GPU: rank " + std::to_string(rank_) + " and rank " +
                                      std::to_string(peer) + " are both on device " +
                                      std::to_string(ranks[rank_].device));
  }
  return ncclSuccess;
}

}  // namespace fakescore::emulation
