#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace fakescore::detail {

/// The JSON object that a configuration is. Throws ConfigError for anything else.
nlohmann::json parse_config(const std::string& text);

}  // namespace fakescore::detail
