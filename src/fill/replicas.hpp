#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/tensor/manifest.hpp"

namespace fakescore::detail {

/// If more than one of so many bytes would be read again on another host, the readers share.
/// Biases and buffers that are whole on every host are not worth a message.
inline constexpr uint64_t kMuchReadAgain = 64;

/// What ranks keep of one tensor.
struct KeptTensor {
  size_t element_bytes = 0;
  std::vector<Box> kept;  ///< by rank
};

/// Bytes that the ranks of all hosts need, each part counted once a host.
struct BytesByHosts {
  uint64_t once = 0;   ///< of the first host that needs a part
  uint64_t again = 0;  ///< of the others
};

/// `hosts` are numbers, by rank. Pure.
BytesByHosts count_by_hosts(const std::vector<int>& hosts, const std::vector<KeptTensor>& tensors);

/// Collective. Whether several hosts need so much alike that each reading its own would read much
/// more than all of it.
bool hosts_keep_the_same_parts(Communicator& communicator, const Manifest& own,
                               const std::string& phase);

}  // namespace fakescore::detail
