#include "json_file.hpp"

#include <string>
#include <system_error>
#include <utility>

#include "error/utf8.hpp"
#include "fakescore/error.hpp"
#include "file/whole_file.hpp"

namespace fakescore::launcher {
namespace {

using nlohmann::ordered_json;

std::string hex(const std::string& bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xf];
  }
  return text;
}

/// Adds to `found` each text below `value`, which is at `pointer`, that is not UTF-8.
void find_other_bytes(const ordered_json& value, const std::string& pointer, ordered_json& found) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (!detail::is_valid_utf8(text)) {
      found.push_back(ordered_json{{"at", pointer}, {"hex", hex(text)}});
    }
  } else if (value.is_structured()) {
    for (const auto& [key, item] : value.items()) {
      find_other_bytes(item, pointer + "/" + key, found);
    }
  }
}

}  // namespace

void write_json(const std::filesystem::path& path, ordered_json json) {
  auto found = ordered_json::array();
  find_other_bytes(json, "", found);
  if (!found.empty()) json["exact_bytes"] = std::move(found);
  try {
    detail::WholeFile file(path);
    file.write(json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
    file.commit();
  } catch (const std::system_error& error) {
    throw_error({ErrorCode::kConfig, -1, "report", path.string(),
                 std::string("cannot be written: ") + error.what(),
                 "give a file in a folder that exists, can be written and has the space"});
  }
}

}  // namespace fakescore::launcher
