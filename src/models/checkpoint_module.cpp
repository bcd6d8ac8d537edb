#include <torch/torch.h>

#include <algorithm>
#include <map>
#include <set>

#include "fakescore/error.hpp"
#include "fakescore/models/registry.hpp"

namespace fakescore {
namespace {

// Module trees are walked by recursion: a hostile name must not be able to exhaust the stack.
constexpr size_t kDeepest = 100;

[[noreturn]] void throw_bad_name(const TeacherTensor& tensor, const std::string& message) {
  std::string where = tensor.file.empty() ? "" : " in " + tensor.file;
  throw_error(ErrorInfo{ErrorCode::kTeacher, -1, "build", "tensor name \"" + tensor.name + "\"",
                        message + where,
                        "rename the tensor with TeacherSource::rename_keys (--map)"});
}

std::vector<std::string> split_name(const TeacherTensor& tensor) {
  std::vector<std::string> parts(1);
  for (const char c : tensor.name) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  for (const std::string& part : parts) {
    if (part.empty())
      throw_bad_name(tensor, "has an empty part between dots, which no module's name can have");
  }
  if (parts.size() > kDeepest)
    throw_bad_name(tensor, "has more than " + std::to_string(kDeepest) + " parts between dots");
  return parts;
}

/// The module tree as it grows, by prefix.
class Tree {
 public:
  explicit Tree(const std::vector<TeacherTensor>& tensors) {
    for (const TeacherTensor& tensor : tensors) {
      if (!tensor_names_.insert(tensor.name).second) {
        throw_bad_name(tensor, "is the name of two tensors");
      }
    }
  }

  void add(const TeacherTensor& tensor) {
    const std::vector<std::string> parts = split_name(tensor);
    torch::nn::Module& owner = *find_owner(tensor, parts);
    const torch::Tensor value = torch::empty(tensor.sizes, tensor.dtype);
    if (at::isFloatingType(tensor.dtype) || at::isComplexType(tensor.dtype)) {
      owner.register_parameter(parts.back(), value);
    } else {
      owner.register_buffer(parts.back(), value);
    }
  }

  std::shared_ptr<torch::nn::Module> root() const { return root_; }

 private:
  std::shared_ptr<torch::nn::Module> find_owner(const TeacherTensor& tensor,
                                                const std::vector<std::string>& parts) {
    std::shared_ptr<torch::nn::Module> owner = root_;
    std::string prefix;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      prefix += (i == 0 ? "" : ".") + parts[i];
      if (tensor_names_.count(prefix) > 0) {
        throw_bad_name(tensor,
                       "begins with \"" + prefix + ".\", but \"" + prefix + "\" is another tensor");
      }
      std::shared_ptr<torch::nn::Module>& child = modules_[prefix];
      if (child == nullptr) {
        child = owner->register_module(parts[i], std::make_shared<torch::nn::Module>());
      }
      owner = child;
    }
    return owner;
  }

  std::shared_ptr<torch::nn::Module> root_ = std::make_shared<torch::nn::Module>();
  std::map<std::string, std::shared_ptr<torch::nn::Module>> modules_;
  std::set<std::string> tensor_names_;
};

bool has_elements(const TeacherTensor& tensor) {
  return std::find(tensor.sizes.begin(), tensor.sizes.end(), 0) == tensor.sizes.end();
}

/// Here no module says which shapes are right. A save of one rank's share leaves a tensor without
/// elements for each parameter, and buffers as they are.
void refuse_placeholders(const std::vector<TeacherTensor>& tensors) {
  size_t parameters = 0;
  std::vector<const TeacherTensor*> empty;
  for (const TeacherTensor& tensor : tensors) {
    if (!at::isFloatingType(tensor.dtype)) continue;
    ++parameters;
    if (!has_elements(tensor)) empty.push_back(&tensor);
  }
  if (2 * empty.size() <= parameters) return;
  const std::string& file = empty.front()->file;
  throw_error({ErrorCode::kTeacher, -1, "build",
               (file.empty() ? "" : file + ", ") + "tensor " + empty.front()->name,
               "has no elements, as " + std::to_string(empty.size()) + " of " +
                   std::to_string(parameters) +
                   " floating-point tensors: placeholders, as saving one rank's share of a model "
                   "leaves them (DeepSpeed ZeRO-3, FSDP)",
               "gather the weights before saving: DeepSpeed's zero_to_fp32.py or "
               "stage3_gather_16bit_weights_on_model_save, FSDP's full state dict"});
}

}  // namespace

std::shared_ptr<torch::nn::Module> build_checkpoint_module(
    const std::vector<TeacherTensor>& tensors) {
  refuse_placeholders(tensors);
  Tree tree(tensors);
  for (const TeacherTensor& tensor : tensors) tree.add(tensor);
  return tree.root();
}

}  // namespace fakescore
