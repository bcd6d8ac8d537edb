#include "error/error_codec.hpp"

#include "error/wire.hpp"

namespace fakescore {

auto wire_fields(ErrorInfo& info) {
  return std::tie(info.code, info.rank, info.phase, info.subject, info.message, info.remedy);
}

}  // namespace fakescore

namespace fakescore::detail {

std::string encode_error(const ErrorInfo& info) { return to_wire(info); }

ErrorInfo decode_error(const std::string& bytes) {
  try {
    return std::get<0>(from_wire<ErrorInfo>(bytes, "another rank's error"));
  } catch (const Error& error) {
    return {ErrorCode::kInternal, -1, "", "", "another rank's error could not be read",
            error.info().remedy};
  }
}

}  // namespace fakescore::detail
