#pragma once

#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/fill/cast_options.hpp"
#include "fakescore/meta/meta_init.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore {

/// Gives every floating-point tensor of a list the dtype that the options have for its name, in
/// place, and those on `tape` that share a storage with one of them the same: members that no
/// module registered. torch::nn::Module::to also casts integers and unties what shares storage;
/// this does neither. Meta tensors are cast under the MetaInitGuard that made them. Throws
/// ConfigError naming a dtype that is not a floating-point one, a dtype rule that is malformed or
/// matches nothing, or two tensors that share storage and are to get two dtypes.
FAKESCORE_API void cast_floating_tensors(const std::vector<NamedTensor>& tensors,
                                         const CastOptions& options,
                                         const InitTape* tape = nullptr);

/// In words, for FillTarget::settings.
FAKESCORE_API std::string describe(const CastOptions& options);

}  // namespace fakescore
