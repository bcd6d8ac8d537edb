#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore::detail {

/// Collective. The digest of all tensors, the same on every rank; throws MismatchError on every
/// rank, naming the first tensor that differs from root's and the rank.
Digest verify_across_ranks(Communicator& communicator, const std::vector<NamedTensor>& tensors,
                           int root);

}  // namespace fakescore::detail
