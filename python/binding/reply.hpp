#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "fakescore/error.hpp"

namespace fakescore::python {

/// What a call says: {"value": ...}, or {"error": {...}} with all parts of an ErrorInfo. Errors do
/// not travel as exceptions: TorchScript's bindings keep no more of one than its text.
inline std::string dump(const nlohmann::json& reply) {
  // Names come from files and may be no UTF-8.
  return reply.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

inline nlohmann::json to_json(const ErrorInfo& info) {
  return {{"code", to_string(info.code)}, {"rank", info.rank},       {"phase", info.phase},
          {"subject", info.subject},      {"message", info.message}, {"remedy", info.remedy},
          {"text", Error(info).what()}};
}

/// The reply of a call that returns what nlohmann::json takes.
template <typename Call>
std::string reply(Call call) {
  try {
    return dump({{"value", call()}});
  } catch (...) {
    return dump({{"error", to_json(describe_current_exception(-1, ""))}});
  }
}

/// The same for a call that returns nothing.
template <typename Call>
std::string reply_done(Call call) {
  return reply([&] {
    call();
    return nullptr;
  });
}

}  // namespace fakescore::python
