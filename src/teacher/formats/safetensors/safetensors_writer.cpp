#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "error/utf8.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "file/whole_file.hpp"
#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/safetensors/safetensors_header.hpp"

namespace fakescore {
namespace {

using NamedTensors = std::vector<NamedTensor>;

constexpr const char* kMetadataKey = "__metadata__";

/// Grows as text: a JSON object that keeps the order of its keys looks through all of them for each
/// new one.
class Header {
 public:
  Header(const std::map<std::string, std::string>& metadata, const std::filesystem::path& path)
      : path_(path), names_{kMetadataKey} {
    for (const auto& [key, value] : metadata) {
      check_text(key);
      check_text(value);
    }
    if (!metadata.empty()) append(kMetadataKey, nlohmann::json(metadata).dump());
  }

  void add(const std::string& name, const at::Tensor& tensor) {
    check(name, tensor);
    const size_t end = offset_ + tensor.nbytes();
    append(name,
           nlohmann::ordered_json{
               {"dtype", *detail::safetensors_dtype_name(tensor.scalar_type())},
               {"shape", *detail::safetensors_shape(tensor.scalar_type(), tensor.sizes())},
               {"data_offsets", {offset_, end}}}
               .dump());
    offset_ = end;
  }

  std::string finish() {
    text_ += '}';
    text_.resize((text_.size() + 7) / 8 * 8, ' ');  // so that the data begins aligned
    return std::move(text_);
  }

 private:
  void check(const std::string& name, const at::Tensor& tensor) {
    if (!tensor.is_cpu() || !detail::safetensors_dtype_name(tensor.scalar_type()) ||
        !detail::safetensors_shape(tensor.scalar_type(), tensor.sizes())) {
      detail::throw_teacher_error(path_, name,
                                  std::string("a ") + c10::toString(tensor.scalar_type()) +
                                      " tensor on " + tensor.device().str() +
                                      " cannot be written as safetensors",
                                  "move it to the CPU, or cast it first");
    }
    check_text(name);
    if (!names_.insert(name).second) {
      detail::throw_teacher_error(
          path_, name,
          name == kMetadataKey ? "the format keeps this name for itself" : "is given twice",
          "give each tensor a name of its own");
    }
  }

  void check_text(const std::string& text) const {
    if (detail::is_valid_utf8(text)) return;
    detail::throw_teacher_error(path_, "",
                                "cannot hold \"" + detail::shown(text) + "\", which is not UTF-8",
                                "give tensors other names");
  }

  void append(const std::string& key, const std::string& value) {
    if (text_.size() > 1) text_ += ',';
    text_.append(nlohmann::json(key).dump()).append(":").append(value);
  }

  const std::filesystem::path& path_;
  std::string text_ = "{";
  std::set<std::string> names_;
  size_t offset_ = 0;  ///< of the next tensor's data
};

std::string make_header(const NamedTensors& tensors,
                        const std::map<std::string, std::string>& metadata,
                        const std::filesystem::path& path) {
  Header header(metadata, path);
  for (const auto& entry : tensors) header.add(entry.name, entry.tensor);
  return header.finish();
}

void write_file(detail::WholeFile& file, const std::string& header, const NamedTensors& tensors) {
  const uint64_t length = header.size();
  file.write({reinterpret_cast<const char*>(&length), sizeof(length)});
  file.write(header);
  for (const auto& entry : tensors) {
    const at::Tensor data = entry.tensor.contiguous().resolve_conj().resolve_neg();
    file.write({static_cast<const char*>(data.const_data_ptr()), data.nbytes()});
  }
}

}  // namespace

void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  NamedTensors ordered = tensors;
  // Larger elements first, as safetensors' own writer does, keeps every tensor aligned.
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return a.tensor.element_size() > b.tensor.element_size();
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
