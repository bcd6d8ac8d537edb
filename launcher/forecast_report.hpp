#pragma once

#include <vector>

#include "fakescore/fill/forecast.hpp"

namespace fakescore::launcher {

/// Prints which ranks and hosts read and send how much, why, and how long it takes: of many kinds
/// of ranks the first and the last ones.
void print_forecasts(const std::vector<Forecast>& forecasts);

}  // namespace fakescore::launcher
