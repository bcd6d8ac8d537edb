#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/core/digest.hpp"
#include "fakescore/core/module_tensors.hpp"

namespace fakescore::detail {

/// Collective. The digest of all tensors, the same on every rank; throws MismatchError on every
/// rank, naming the first tensor that differs from root's and the rank.
Digest verify_across_ranks(Communicator& communicator, const std::vector<ModuleTensor>& tensors,
                           int root);

}  // namespace fakescore::detail
