#pragma once

#include <ATen/core/Tensor.h>

namespace fakescore::testing {

/// The GPU of this rank, which the communicator that `run_on_every_rank` passes has as its device.
at::Device rank_device();

}  // namespace fakescore::testing
