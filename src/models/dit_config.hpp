#pragma once

#include "fakescore/models/dit.hpp"

namespace fakescore::detail {

/// Throws ConfigError naming the field where no model can have such a configuration.
void check_dit_config(const DiTConfig& config);

}  // namespace fakescore::detail
