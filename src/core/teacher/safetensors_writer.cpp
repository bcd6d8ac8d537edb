#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/teacher/safetensors_header.hpp"
#include "core/teacher/teacher_error.hpp"
#include "core/whole_file.hpp"
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

void write_file(detail::WholeFile& file, const std::string& header, const NamedTensors& tensors) {
  const uint64_t length = header.size();
  file.write({reinterpret_cast<const char*>(&length), sizeof(length)});
  file.write(header);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor data = tensor.contiguous().resolve_conj().resolve_neg();
    file.write({static_cast<const char*>(data.const_data_ptr()), data.nbytes()});
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
  try {
    detail::WholeFile file(path);
    write_file(file, header, ordered);
    file.commit();
  } catch (const std::system_error& error) {
    detail::throw_teacher_error(path, "", std::string("cannot be written: ") + error.what(),
                                "check the folder, its permissions and the free space");
  }
}

}  // namespace fakescore
