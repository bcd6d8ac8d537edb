#include "teacher/file/json_events.hpp"

#include <nlohmann/json.hpp>

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"

namespace fakescore::detail {
namespace {

using nlohmann::json;

constexpr size_t kMaxJsonDepth = 127;  // safetensors' own
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// Counts the depth for a listener.
class JsonTeller : public nlohmann::json_sax<json> {
 public:
  JsonTeller(const std::filesystem::path& file, const std::string& what, JsonListener& listener)
      : file_(file), what_(what), listener_(listener) {}

  bool start_object(size_t /*elements*/) override {
    listener_.begin_object(depth_);
    return enter();
  }
  bool start_array(size_t /*elements*/) override {
    listener_.begin_array(depth_);
    return enter();
  }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override { return listener_.key(depth_, name), true; }
  bool string(string_t& value) override { return listener_.text(depth_, value), true; }
  bool number_unsigned(number_unsigned_t value) override {
    return listener_.count(depth_, value), true;
  }
  bool null() override { return listener_.null(depth_), true; }
  bool boolean(bool /*value*/) override { return listener_.other(depth_), true; }
  bool number_integer(number_integer_t /*value*/) override { return listener_.other(depth_), true; }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override {
    return listener_.other(depth_), true;
  }
  bool binary(binary_t& /*value*/) override { return listener_.other(depth_), true; }
  bool parse_error(size_t /*position*/, const std::string& /*token*/,
                   const json::exception& error) override {
    throw_teacher_error(file_, "", what_ + " is not JSON: " + shown(error.what()));
  }

 private:
  bool enter() {
    if (++depth_ > kMaxJsonDepth) {
      throw_teacher_error(file_, "", what_ + " nests deeper than " + std::to_string(kMaxJsonDepth));
    }
    return true;
  }
  bool leave() {
    listener_.end(--depth_);
    return true;
  }

  const std::filesystem::path& file_;
  const std::string& what_;
  JsonListener& listener_;
  size_t depth_ = 0;
};

}  // namespace

void read_json(std::string_view text, const std::filesystem::path& file, const std::string& what,
               JsonListener& listener) {
  // The parser would take a NUL for the end of the text, and skip the mark.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    throw_teacher_error(file, "",
                        what + " is not JSON: it has a NUL at byte " + std::to_string(zero));
  }
  if (text.starts_with(kByteOrderMark)) {
    throw_teacher_error(file, "", what + " is not JSON: it begins with a byte order mark");
  }
  JsonTeller teller(file, what, listener);
  json::sax_parse(text.begin(), text.end(), &teller);
}

}  // namespace fakescore::detail
