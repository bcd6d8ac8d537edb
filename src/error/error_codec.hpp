#pragma once

#include <string>

#include "fakescore/error.hpp"

namespace fakescore::detail {

/// ErrorInfo as bytes and back, for an error that travels between ranks. Texts may hold any bytes:
/// names of tensors and files need not be UTF-8.
std::string encode_error(const ErrorInfo& info);
/// Never throws: bytes that cannot be read become an error that says so.
ErrorInfo decode_error(const std::string& bytes);

}  // namespace fakescore::detail
