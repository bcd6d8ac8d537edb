#include "teacher/source/renamed_teacher.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "error/join.hpp"
#include "fakescore/error.hpp"
#include "teacher/file/file_text.hpp"

namespace fakescore::detail {
namespace {

/// Names come from files, which may be hostile.
std::string in_quotes(const std::string& name) { return "\"" + shown(name) + "\""; }

/// Gives names by a KeyMap, each to one tensor only.
class Renamer {
 public:
  Renamer(const KeyMap& map, std::string what) : map_(map), what_(std::move(what)) {}

  /// `stored` is what the user knows the tensor by, `file` where it lies.
  std::optional<std::string> rename(const std::string& name, const std::string& stored,
                                    const std::string& file) {
    const std::string subject = (file.empty() ? "" : file + ", ") + "tensor " + in_quotes(stored);
    std::optional<std::string> renamed = call(name, subject);
    if (!renamed) return std::nullopt;
    if (renamed->empty()) {
      throw TeacherError(subject, "gets an empty name from " + what_,
                         "let it get a name that the module has");
    }
    const auto [first, is_new] = stored_by_name_.try_emplace(*renamed, stored);
    if (!is_new) {
      throw TeacherError(subject,
                         "gets the name " + in_quotes(*renamed) + " by " + what_ + ", as " +
                             in_quotes(first->second) + " does",
                         "give one of them another name, or leave it out with a callback");
    }
    return renamed;
  }

 private:
  std::optional<std::string> call(const std::string& name, const std::string& subject) const {
    try {
      return map_(name);
    } catch (...) {
      ErrorInfo info = describe_current_exception(-1, "", ErrorCode::kTeacher);
      info.subject = subject;
      info.message = what_ + " failed: " + info.message;
      throw_error(std::move(info));
    }
  }

  const KeyMap& map_;
  std::string what_;
  std::map<std::string, std::string> stored_by_name_;
};

class RenamedTeacher : public Teacher {
 public:
  RenamedTeacher(std::unique_ptr<Teacher> teacher, Renamer renamer) : teacher_(std::move(teacher)) {
    Names names;
    for (size_t i = 0; i < teacher_->tensors().size(); ++i) {
      TeacherTensor tensor = teacher_->tensors()[i];
      const std::string stored = stored_name(tensor);
      auto name = renamer.rename(tensor.name, stored, tensor.file);
      names.emplace(tensor.name, name);
      if (!name) continue;
      tensor.stored_name = *name == stored ? "" : stored;
      tensor.name = std::move(*name);
      tensors_.push_back(std::move(tensor));
      indices_.push_back(i);
    }
    rename_ties(renamer, names);
  }

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }
  at::Tensor read(size_t index) override { return teacher_->read(indices_.at(index)); }
  std::shared_ptr<const FileBytes> file_bytes(size_t index) override {
    return teacher_->file_bytes(indices_.at(index));
  }
  std::map<std::string, std::string> metadata() const override { return metadata_; }
  std::vector<TeacherFile> files() const override { return teacher_->files(); }
  TeacherChoice choice() const override { return teacher_->choice(); }

 private:
  using Names = std::map<std::string, std::optional<std::string>>;

  /// `names` has what became of the tensors' names.
  void rename_ties(Renamer& renamer, const Names& names) {
    for (const auto& [name, target] : teacher_->metadata()) {
      const auto target_name = names.find(target);
      if (target_name == names.end()) {
        metadata_.emplace(name, target);  // no tie
        continue;
      }
      if (!target_name->second) continue;
      // A file may hold a tensor that it calls tied.
      const auto own = names.find(name);
      const auto tied = own == names.end() ? renamer.rename(name, name, "") : own->second;
      if (tied) metadata_.insert_or_assign(*tied, *target_name->second);
    }
  }

  std::unique_ptr<Teacher> teacher_;
  std::vector<TeacherTensor> tensors_;
  std::vector<size_t> indices_;  ///< into the teacher's own tensors
  std::map<std::string, std::string> metadata_;
};

/// The parts, up to a dot, that all names have in common.
std::string common_beginning(const std::vector<TeacherTensor>& tensors) {
  std::string common = tensors.front().name;
  for (const TeacherTensor& tensor : tensors) {
    const auto differs =
        std::mismatch(common.begin(), common.end(), tensor.name.begin(), tensor.name.end());
    common.erase(differs.first, common.end());
  }
  return common.substr(0, common.rfind('.') + 1);
}

/// How names begin, for a message: "model.blocks., model.head.".
std::string describe_beginnings(const std::vector<TeacherTensor>& tensors) {
  if (tensors.empty()) return "there are no tensors";
  const size_t common = common_beginning(tensors).size();
  std::set<std::string> beginnings;
  for (const TeacherTensor& tensor : tensors) {
    const size_t dot = tensor.name.find('.', common);
    beginnings.insert(tensor.name.substr(0, dot == std::string::npos ? dot : dot + 1));
  }
  std::vector<std::string> quoted;
  quoted.reserve(beginnings.size());
  for (const std::string& beginning : beginnings) quoted.push_back(in_quotes(beginning));
  return "they begin with " + join_some(quoted);
}

}  // namespace

const std::string& stored_name(const TeacherTensor& tensor) {
  return tensor.stored_name.empty() ? tensor.name : tensor.stored_name;
}

std::unique_ptr<Teacher> rename_teacher(std::unique_ptr<Teacher> teacher, const KeyMap& map,
                                        const std::string& what) {
  return std::make_unique<RenamedTeacher>(std::move(teacher), Renamer(map, what));
}

std::unique_ptr<Teacher> strip_prefix(std::unique_ptr<Teacher> teacher, const std::string& prefix,
                                      const std::string& description) {
  const auto& tensors = teacher->tensors();
  const auto first = std::find_if(tensors.begin(), tensors.end(), [&](const TeacherTensor& tensor) {
    return tensor.name.starts_with(prefix);
  });
  if (first == tensors.end()) {
    throw TeacherError(description,
                       "no tensor's name begins with the prefix " + in_quotes(prefix) + ": " +
                           describe_beginnings(tensors),
                       "give a prefix of the names, or leave it out");
  }
  if (!prefix.ends_with('.') && first->name.substr(prefix.size()).starts_with('.')) {
    throw TeacherError(description,
                       "without the prefix " + in_quotes(prefix) + ", " + in_quotes(first->name) +
                           " would begin with a dot",
                       "give the prefix with its last dot, " + in_quotes(prefix + "."));
  }
  const KeyMap strip = [&](const std::string& name) {
    return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
  };
  return rename_teacher(std::move(teacher), strip, "stripping the prefix " + in_quotes(prefix));
}

}  // namespace fakescore::detail
