#include "meta/recording_key.hpp"

namespace fakescore::detail {

std::optional<c10::DispatchKey> recording_key() noexcept { return std::nullopt; }

}  // namespace fakescore::detail
