#pragma once

#include <nccl.h>

#include <cstddef>
#include <vector>

namespace fakescore::emulation {

/// Combines `count` elements of every input, in the order of the ranks.
void reduce_elements(const std::vector<const char*>& inputs, char* output, size_t count,
                     ncclDataType_t type, ncclRedOp_t reduction);

}  // namespace fakescore::emulation
