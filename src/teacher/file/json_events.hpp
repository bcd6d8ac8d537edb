#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace fakescore::detail {

/// Told what a JSON text holds, piece by piece, while it is read. Nothing of the text is kept
/// beside that, so that its values cost what the listener makes of them. Strings are valid UTF-8
/// and may be moved from.
class JsonListener {
 public:
  virtual ~JsonListener() = default;
  /// `depth` counts the objects and arrays around the value or key: 0 for the outermost value.
  virtual void begin_object(size_t depth) { other(depth); }
  virtual void begin_array(size_t depth) { other(depth); }
  /// The object or array that began at this depth ends.
  virtual void end(size_t /*depth*/) {}
  virtual void key(size_t /*depth*/, std::string& /*name*/) {}
  virtual void text(size_t depth, std::string& /*value*/) { other(depth); }
  virtual void count(size_t depth, uint64_t /*value*/) { other(depth); }
  virtual void null(size_t depth) { other(depth); }
  /// Any other number, and what none of the functions above was overridden for.
  virtual void other(size_t depth) = 0;
};

/// Reads the text as JSON's standard has it and as safetensors and Python do: no byte after its
/// end, a NUL least of all, no byte order mark, nothing nested deeper than 127. Throws TeacherError
/// naming `file` and beginning with `what` ("header", "index"), and whatever the listener throws.
void read_json(std::string_view text, const std::filesystem::path& file, const std::string& what,
               JsonListener& listener);

}  // namespace fakescore::detail
