#include "fuzz/dump.hpp"

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "fakescore/error.hpp"
#include "teacher/source/open_teacher.hpp"

namespace fakescore::fuzz {
namespace {

using nlohmann::json;

std::string hexadecimal(const at::Tensor& tensor) {
  constexpr const char* kDigits = "0123456789abcdef";
  const at::Tensor elements = tensor.contiguous();
  const auto* bytes = static_cast<const uint8_t*>(elements.const_data_ptr());
  std::string digits;
  for (size_t i = 0; i < elements.nbytes(); ++i) {
    digits += kDigits[bytes[i] / 16];
    digits += kDigits[bytes[i] % 16];
  }
  return digits;
}

json describe_file(const std::string& path, const std::string& key) {
  TeacherPathOptions options;
  options.key = key;
  try {
    const auto teacher = detail::open_teacher(path, options);
    json tensors = json::object();
    for (size_t i = 0; i < teacher->tensors().size(); ++i) {
      const at::Tensor value = teacher->read(i);
      tensors[teacher->tensors()[i].name] = {c10::toString(value.scalar_type()),
                                             value.sizes().vec(), hexadecimal(value)};
    }
    return {{"tensors", tensors}};
  } catch (const TeacherError& error) {
    return {{"error", error.info().message}};
  }
}

}  // namespace

void dump_files() {
  for (std::string line; std::getline(std::cin, line);) {
    const size_t tab = line.find('\t');
    const json said = describe_file(line.substr(tab + 1), line.substr(0, tab));
    std::cout << said.dump(-1, ' ', true, json::error_handler_t::replace) << std::endl;
  }
}

}  // namespace fakescore::fuzz
