#pragma once

#include "fakescore/factory/fake_score_meta.hpp"

namespace fakescore::detail {

/// Gives every floating-point parameter and buffer of a module the dtype that the options have for
/// its name, in place, and those on `tape` that share a storage with one of them the same: members
/// that are not registered. torch::nn::Module::to also casts integers and unties what shares
/// storage; this does neither. Throws ConfigError naming a dtype rule that is malformed or
/// matches nothing, or two tensors that share storage and are to get two dtypes.
void cast_floating_tensors(torch::nn::Module& module, const MetaOptions& options,
                           const InitTape* tape = nullptr);

}  // namespace fakescore::detail
