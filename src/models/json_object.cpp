#include "models/json_object.hpp"

#include <limits>

#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kLongestQuote = 80;

[[noreturn]] void wrong_type(const std::string& key, const char* expected,
                             const nlohmann::json& value) {
  // dump() recurses: only what cannot be nested is quoted.
  std::string text = value.type_name();
  if (!value.is_structured()) {
    text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  }
  if (text.size() > kLongestQuote) text = text.substr(0, kLongestQuote) + "...";
  throw_config_error(key, std::string("must be ") + expected + ", is " + text);
}

}  // namespace

void throw_config_error(const std::string& key, const std::string& message,
                        const std::string& remedy) {
  throw_error(ErrorInfo{ErrorCode::kConfig, -1, "config", key, message, remedy});
}

JsonObject::JsonObject(const std::string& text) {
  try {
    json_ = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw_config_error("config.json", std::string("is not JSON: ") + error.what());
  }
  if (!json_.is_object()) throw_config_error("config.json", "is not a JSON object");
}

const nlohmann::json* JsonObject::find(const std::string& key) const {
  const auto found = json_.find(key);
  return found == json_.end() ? nullptr : &*found;
}

bool JsonObject::has(const std::string& key) const {
  const nlohmann::json* value = find(key);
  return value != nullptr && !value->is_null();
}

int64_t JsonObject::integer(const std::string& key, int64_t fallback) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const bool too_large = value->is_number_unsigned() && value->get<uint64_t>() > kLargest;
  if (!value->is_number_integer() || too_large) wrong_type(key, "an integer", *value);
  return value->get<int64_t>();
}

double JsonObject::number(const std::string& key, double fallback) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) wrong_type(key, "a number", *value);
  return value->get<double>();
}

bool JsonObject::boolean(const std::string& key, bool fallback) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) wrong_type(key, "true or false", *value);
  return value->get<bool>();
}

std::string JsonObject::string(const std::string& key, const std::string& fallback) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) wrong_type(key, "a string", *value);
  return value->get<std::string>();
}

}  // namespace fakescore::detail
