#include "core/error_codec.hpp"

#include <nlohmann/json.hpp>

namespace fakescore::detail {

using nlohmann::json;

std::string encode_error(const ErrorInfo& info) {
  std::string bytes;
  json::to_msgpack(json::array({static_cast<int>(info.code), info.rank, info.phase, info.subject,
                                info.message, info.remedy}),
                   bytes);
  return bytes;
}

ErrorInfo decode_error(const std::string& bytes) {
  try {
    const json fields = json::from_msgpack(bytes);
    return {static_cast<ErrorCode>(fields.at(0).get<int>()),
            fields.at(1).get<int>(),
            fields.at(2).get<std::string>(),
            fields.at(3).get<std::string>(),
            fields.at(4).get<std::string>(),
            fields.at(5).get<std::string>()};
  } catch (const json::exception&) {
    return {ErrorCode::kInternal,
            -1,
            "",
            "",
            "another rank's error could not be read",
            "run the same build of fakescore on every rank"};
  }
}

}  // namespace fakescore::detail
