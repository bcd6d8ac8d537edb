#pragma once

#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/fill/cast_options.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore {

/// Gives every floating-point tensor of a list the dtype that the options have for its name, in
/// place. One that no module registered has no name that a rule could mean: it follows the
/// registered one that it shares a storage with, or stays as it is. torch::nn::Module::to also
/// casts integers and unties what shares storage; this does neither. Meta tensors are cast under
/// the MetaInitGuard that made them. Throws ConfigError naming a dtype that is not a floating-point
/// one, a dtype rule that is malformed or matches nothing, or two tensors that share storage and
/// are to get two dtypes.
FAKESCORE_API void cast_floating_tensors(const std::vector<NamedTensor>& tensors,
                                         const CastOptions& options);

/// In words, for FillTarget::settings.
FAKESCORE_API std::string describe(const CastOptions& options);

}  // namespace fakescore
