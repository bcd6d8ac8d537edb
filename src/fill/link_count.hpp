#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "fakescore/comm/bulk_plane.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Bytes of one rank.
struct LinkBytes {
  uint64_t sent = 0;  ///< to other ranks, once for each that it sends to
  uint64_t received = 0;
  uint64_t to_other_hosts = 0;    ///< of what it sent
  uint64_t from_other_hosts = 0;  ///< of what it received
};

/// Counts what one rank sends and receives: exchanges by its routes, broadcasts by the way that
/// their backend is known to take.
class LinkCount {
 public:
  /// `hosts` has the number of each rank's host, by rank.
  LinkCount(int rank, std::vector<int> hosts) : rank_(rank), hosts_(std::move(hosts)) {}

  const std::vector<int>& hosts() const noexcept { return hosts_; }
  int host_count() const { return *std::max_element(hosts_.begin(), hosts_.end()) + 1; }
  const LinkBytes& bytes() const noexcept { return bytes_; }

  /// Of cut tensors, whose routes are agreed.
  void add_exchange(const std::vector<Transfer>& cuts);
  /// Of whole ones, from their roots.
  void add_broadcasts(const std::vector<Transfer>& transfers, const BulkPlane& plane);

 private:
  void add(int from, int to, uint64_t bytes);

  int rank_;
  std::vector<int> hosts_;
  LinkBytes bytes_;
};

}  // namespace fakescore::detail
