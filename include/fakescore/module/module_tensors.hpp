#pragma once

#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace torch::nn {
class Module;
}

namespace fakescore {

/// Every parameter and buffer: a module's own parameters, its own buffers, then its children, in
/// the order of registration. A tensor or a submodule that is registered under several names is
/// listed under each. A buffer that NonPersistentBuffers names is of that kind.
FAKESCORE_API std::vector<NamedTensor> module_tensors(const torch::nn::Module& module);

}  // namespace fakescore
