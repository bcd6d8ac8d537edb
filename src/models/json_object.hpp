#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace fakescore::detail {

/// A model's configuration as JSON, read key by key. Each failure is a ConfigError that names the
/// key.
class JsonObject {
 public:
  /// Throws ConfigError where the text is not a JSON object.
  explicit JsonObject(const std::string& text);

  /// False also for a null.
  bool has(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t fallback) const;
  double number(const std::string& key, double fallback) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string string(const std::string& key, const std::string& fallback) const;

 private:
  /// Null where the key is missing.
  const nlohmann::json* find(const std::string& key) const;

  nlohmann::json json_;
};

[[noreturn]] void throw_config_error(const std::string& key, const std::string& message,
                                     const std::string& remedy = "");

}  // namespace fakescore::detail
