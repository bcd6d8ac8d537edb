#include "inspect_command.hpp"

#include <fmt/ranges.h>

#include <limits>
#include <map>
#include <string>

#include "fakescore/teacher/teacher_source.hpp"
#include "fakescore/tensor/digest.hpp"
#include "format_bytes.hpp"
#include "print.hpp"
#include "report_parts.hpp"

namespace fakescore::launcher {
namespace {

/// Writers that know nothing of ties save a tied tensor under each of its names: equal bytes of
/// equal shape are what is left of it then.
class EqualTensors {
 public:
  /// The name of an earlier tensor with the same bytes, or nothing.
  std::string find_or_add(const TeacherTensor& tensor, const at::Tensor& value) {
    if (value.numel() < 2) return "";
    const std::string key =
        fmt::format("{} {} {}", c10::toString(tensor.dtype), fmt::join(tensor.sizes, "x"),
                    to_string(digest_tensor(value)));
    const auto [first, is_new] = first_by_digest_.try_emplace(key, tensor.name);
    return is_new ? "" : first->second;
  }

 private:
  std::map<std::string, std::string> first_by_digest_;
};

/// The names that a checkpoint gives to a tensor of another name, by that other name.
std::multimap<std::string, std::string> tied_names(const Teacher& teacher) {
  std::multimap<std::string, std::string> tied;
  for (const auto& [name, target] : teacher.metadata()) tied.emplace(target, name);
  return tied;
}

void print_tensor(const TeacherTensor& tensor, const std::string& bytes, const std::string& name,
                  const std::string& remark) {
  print("  {:<14} {:<20} {:>10}  {}{}\n", c10::toString(tensor.dtype),
        fmt::format("[{}]", fmt::join(tensor.sizes, ", ")), bytes, name,
        remark.empty() ? "" : "  (" + remark + ")");
}

}  // namespace

void inspect(const TeacherOptions& options) {
  const auto teacher = options.source().open();
  const auto tied = tied_names(*teacher);
  EqualTensors equal;
  uint64_t elements = 0;
  uint64_t bytes = 0;
  std::map<std::string, uint64_t> by_dtype;
  std::string file;
  for (size_t i = 0; i < teacher->tensors().size(); ++i) {
    const TeacherTensor& tensor = teacher->tensors()[i];
    if (tensor.file != file) {
      file = tensor.file;
      print("{}\n", file);
    }
    const at::Tensor value = teacher->read(i);
    const std::string same = equal.find_or_add(tensor, value);
    print_tensor(tensor, format_bytes(value.nbytes()), tensor.name,
                 same.empty() ? "" : "same bytes as " + same);
    const auto [first, last] = tied.equal_range(tensor.name);
    for (auto other = first; other != last; ++other) {
      print_tensor(tensor, "-", other->second, "tied to " + tensor.name);
    }
    elements += static_cast<uint64_t>(value.numel());
    bytes += value.nbytes();
    by_dtype[c10::toString(tensor.dtype)] += value.nbytes();
  }
  print("{} tensors, {} elements, {}\n", teacher->tensors().size(), elements, format_bytes(bytes));
  for (const auto& [dtype, size] : by_dtype) print("  {:<14} {}\n", dtype, format_bytes(size));
  print_choice(teacher->choice(), std::numeric_limits<size_t>::max(), "");
}

}  // namespace fakescore::launcher
