#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "fakescore/meta/meta_init.hpp"

namespace fakescore::detail {

/// The values of recorded tensors; what is real is its own. Throws BuildError naming the op that
/// fails and what the values are wanted for.
std::vector<at::Tensor> replay_tape(const std::shared_ptr<InitTape>& tape,
                                    const std::vector<at::Tensor>& recorded,
                                    const std::string& wanted_for);

}  // namespace fakescore::detail
