#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "comm/control/step.hpp"

namespace fakescore::detail {

/// A step as part of what else is encoded, and back; nothing where it cannot be read.
nlohmann::json to_json(const Step& step);
std::optional<Step> step_from(const nlohmann::json& fields);

}  // namespace fakescore::detail
