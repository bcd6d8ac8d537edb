#include "models/dit_config.hpp"

#include <cmath>

#include "fakescore/models/dit.hpp"
#include "models/json_object.hpp"

namespace fakescore {
namespace {

// Far above any model, and low enough that no product of two or three sizes overflows.
constexpr int64_t kLargestSize = int64_t{1} << 18;

void check_size(const char* key, int64_t value) {
  if (value >= 1 && value <= kLargestSize) return;
  detail::throw_config_error(key, "is " + std::to_string(value) + ", but must be from 1 to " +
                                      std::to_string(kLargestSize));
}

void check_string(const detail::JsonObject& json, const char* key, const std::string& supported) {
  const std::string value = json.string(key, supported);
  if (value == supported) return;
  detail::throw_config_error(key, "\"" + value + "\" is not supported",
                             "only \"" + supported + "\" is");
}

}  // namespace

void detail::check_dit_config(const DiTConfig& config) {
  check_size("num_attention_heads", config.num_attention_heads);
  check_size("attention_head_dim", config.attention_head_dim);
  check_size("in_channels", config.in_channels);
  check_size("out_channels", config.out_channels);
  check_size("num_layers", config.num_layers);
  check_size("sample_size", config.sample_size);
  check_size("patch_size", config.patch_size);
  check_size("num_embeds_ada_norm", config.num_embeds_ada_norm);
  if (config.inner_dim() % 4 != 0) {
    throw_config_error("attention_head_dim", "num_attention_heads * attention_head_dim is " +
                                                 std::to_string(config.inner_dim()) +
                                                 ", but must be a multiple of 4");
  }
  if (config.patch_size > config.sample_size) {
    throw_config_error("patch_size", "is " + std::to_string(config.patch_size) +
                                         ", which is more than sample_size, " +
                                         std::to_string(config.sample_size));
  }
  if (!(config.dropout >= 0.0 && config.dropout <= 1.0)) {
    throw_config_error("dropout", "must be from 0 to 1");
  }
  if (!(config.norm_eps >= 0.0 && std::isfinite(config.norm_eps))) {
    throw_config_error("norm_eps", "must be finite and not negative");
  }
}

DiTConfig DiTConfig::from_json(const std::string& config_json) {
  const detail::JsonObject json(config_json);
  check_string(json, "norm_type", "ada_norm_zero");
  check_string(json, "activation_fn", "gelu-approximate");

  DiTConfig config;
  auto integer = [&](const char* key, int64_t& field) { field = json.integer(key, field); };
  integer("num_attention_heads", config.num_attention_heads);
  integer("attention_head_dim", config.attention_head_dim);
  integer("in_channels", config.in_channels);
  config.out_channels = config.in_channels;
  if (json.has("out_channels")) integer("out_channels", config.out_channels);
  integer("num_layers", config.num_layers);
  config.dropout = json.number("dropout", config.dropout);
  config.attention_bias = json.boolean("attention_bias", config.attention_bias);
  integer("sample_size", config.sample_size);
  integer("patch_size", config.patch_size);
  integer("num_embeds_ada_norm", config.num_embeds_ada_norm);
  config.norm_elementwise_affine =
      json.boolean("norm_elementwise_affine", config.norm_elementwise_affine);
  config.norm_eps = json.number("norm_eps", config.norm_eps);
  detail::check_dit_config(config);
  return config;
}

}  // namespace fakescore
