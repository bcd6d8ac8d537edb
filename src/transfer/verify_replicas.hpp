#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore::detail {

/// Collective. The digest of all parts that ranks keep of tensors (NamedTensor::shard), each once a
/// name, the same on every rank; throws MismatchError on every rank, naming the first tensor of
/// which two ranks that keep the same part have other bytes, and the two. The root compares.
Digest verify_replicas(Communicator& communicator, const std::vector<NamedTensor>& shards,
                       int root);

}  // namespace fakescore::detail
