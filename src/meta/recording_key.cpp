#include "meta/recording_key.hpp"

namespace fakescore::detail {

// PyTorch has it for libraries outside its tree, and registers nothing under it.
std::optional<c10::DispatchKey> recording_key() noexcept { return c10::DispatchKey::DeferredInit; }

}  // namespace fakescore::detail
