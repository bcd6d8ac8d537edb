#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/teacher/safetensors_header.hpp"
#include "core/teacher/teacher_error.hpp"
#include "fakescore/core/teacher_source.hpp"

namespace fakescore {
namespace {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

std::string make_header(const NamedTensors& tensors,
                        const std::map<std::string, std::string>& metadata,
                        const std::filesystem::path& path) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto dtype = detail::safetensors_dtype_name(tensor.scalar_type());
    if (!dtype || !tensor.is_cpu()) {
      detail::throw_teacher_error(path, name,
                                  std::string("a ") + c10::toString(tensor.scalar_type()) +
                                      " tensor on " + tensor.device().str() +
                                      " cannot be written as safetensors",
                                  "move it to the CPU, or cast it first");
    }
    header[name] = {{"dtype", *dtype},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + tensor.nbytes()}}};
    offset += tensor.nbytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data begins aligned
  return text;
}

void write_file(const std::filesystem::path& path, const std::string& header,
                const NamedTensors& tensors) {
  std::ofstream file(path, std::ios::binary);
  const uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor data = tensor.contiguous().resolve_conj().resolve_neg();
    file.write(static_cast<const char*>(data.const_data_ptr()),
               static_cast<std::streamsize>(data.nbytes()));
  }
  file.close();
  if (!file) {
    detail::throw_teacher_error(path, "", std::string("cannot be written: ") + std::strerror(errno),
                                "check the folder, its permissions and the free space");
  }
}

}  // namespace

void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  NamedTensors ordered = tensors;
  // Larger elements first, as safetensors' own writer does, keeps every tensor aligned.
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  const std::string header = make_header(ordered, metadata, path);
  std::filesystem::path partial = path;
  partial += ".partial" + std::to_string(::getpid());
  try {
    write_file(partial, header, ordered);
    std::filesystem::rename(partial, path);
  } catch (const std::exception& error) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    if (dynamic_cast<const Error*>(&error) != nullptr) throw;
    detail::throw_teacher_error(path, "", error.what());
  }
}

}  // namespace fakescore
