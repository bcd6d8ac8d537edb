#pragma once

namespace fakescore::fuzz {

/// Reads lines "KEY<tab>PATH" from standard input and says for each, as a line of JSON on standard
/// output, what the file there holds: {"error": "..."} or {"tensors": {NAME: [DTYPE, SIZES, BYTES
/// in hexadecimal digits]}}. For the comparison with what torch and safetensors read.
void dump_files();

}  // namespace fakescore::fuzz
