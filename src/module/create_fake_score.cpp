#include "fakescore/module/create_fake_score.hpp"

#include <c10/util/Type.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/nn/cloneable.h>

#include <string>
#include <typeinfo>
#include <vector>

#include "error/torch_error.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_source.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "fakescore/tensor/manifest.hpp"
#include "fill/no_inference_mode.hpp"
#include "fill/storages.hpp"
#include "module/trainable.hpp"
#include "tensor/byte_ranges.hpp"
#include "tensor/copy_once.hpp"
#include "tensor/storage_bytes.hpp"

namespace fakescore {
namespace {

constexpr const char* kCopyPhase = "create_fake_score";
constexpr const char* kFsdpMark = "_fsdp_wrapped_module";

void check_not_sharded(const std::string& name) {
  if (name.find(kFsdpMark) == std::string::npos) return;
  throw_error(
      {ErrorCode::kConfig, -1, kCopyPhase, name,
       "the teacher is FSDP-wrapped: a deep copy would copy this rank's shard",
       "call create_fake_score_meta with a builder of the unwrapped module and a "
       "TeacherSource (the checkpoint's path, or the gathered state dict), or pass deep_copy "
       "= false"});
}

std::string type_name(const torch::nn::Module& module) {
  return c10::demangle(typeid(module).name());
}

std::shared_ptr<torch::nn::Module> clone_structure(const torch::nn::Module& teacher) {
  try {
    return teacher.clone();
  } catch (const c10::Error& error) {
    throw_error({ErrorCode::kBuild, -1, kCopyPhase, type_name(teacher),
                 std::string("cannot be cloned: ") + detail::describe(error),
                 "pass FakeScoreOptions::build, a callable that makes the module, or derive the "
                 "class from torch::nn::Cloneable"});
  }
}

/// Gives `to` storages of its own with the layout and the values of `from`: what shares storage
/// there shares it here, and dtypes and strides are the same. clone() keeps neither.
void copy_storages(const std::vector<NamedTensor>& from, const std::vector<NamedTensor>& to) {
  const at::NoGradGuard no_grad;
  const Manifest manifest(from);
  const auto occupied = detail::occupied_bytes_by_group(manifest);
  detail::Storages storages(manifest);
  for (int64_t group = 0; group < manifest.alias_groups(); ++group) {
    const at::Tensor& first = from[manifest.index_of_first(group)].tensor;
    storages.allocate(group, first.device());
    const at::Tensor source = detail::storage_bytes(first);
    for (const detail::ByteRange& range : occupied[static_cast<size_t>(group)]) {
      detail::part(storages.bytes(group), range.begin, range.size())
          .copy_(detail::part(source, range.begin, range.size()));
    }
  }
  for (size_t i = 0; i < to.size(); ++i) {
    at::Tensor target = to[i].tensor;
    target.set_data(storages.tensor(i));
  }
}

void check_same_names(const std::vector<NamedTensor>& from, const std::vector<NamedTensor>& to,
                      const std::string& type) {
  bool equal = from.size() == to.size();
  for (size_t i = 0; equal && i < from.size(); ++i) equal = from[i].name == to[i].name;
  if (equal) return;
  throw_error({ErrorCode::kBuild, -1, kCopyPhase, type,
               "its copy does not have the same parameters and buffers as the teacher",
               "let reset(), or FakeScoreOptions::build, register what the teacher registers"});
}

std::shared_ptr<torch::nn::Module> clone_module(const torch::nn::Module& teacher) {
  auto copy = clone_structure(teacher);
  const auto from = module_tensors(teacher);
  const auto to = module_tensors(*copy);
  check_same_names(from, to, type_name(teacher));
  copy_storages(from, to);
  return copy;
}

bool same_layout(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         a.strides() == b.strides() && a.is_conj() == b.is_conj() && a.is_neg() == b.is_neg();
}

/// `tensor`'s layout on a storage of bytes.
at::Tensor view_like(const at::Tensor& tensor, const at::Tensor& bytes) {
  at::Tensor view = bytes.view(tensor.scalar_type())
                        .as_strided(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  if (tensor.is_conj()) view = view.conj();
  return tensor.is_neg() ? at::_neg_view(view) : view;
}

/// Called under a MetaInitGuard: where a built tensor has another layout than the teacher's, it and
/// what the teacher lets share its storage get the teacher's. All others stay what the builder
/// made, so that its plain views of them stay views.
void take_layout(const std::vector<NamedTensor>& from, const std::vector<NamedTensor>& to) {
  const at::NoGradGuard no_grad;
  const Manifest manifest(from);
  const auto bytes = manifest.storage_bytes();
  std::vector<at::Tensor> storages(bytes.size());
  for (size_t i = 0; i < from.size(); ++i) {
    if (same_layout(from[i].tensor, to[i].tensor)) continue;
    const auto group = static_cast<size_t>(manifest.specs()[i].alias_group);
    constexpr size_t kLargestElement = 16;
    const size_t elements = bytes[group] / kLargestElement + 1;
    storages[group] = at::empty({static_cast<int64_t>(elements * kLargestElement)}, at::kByte);
  }
  for (size_t i = 0; i < to.size(); ++i) {
    const auto& storage = storages[static_cast<size_t>(manifest.specs()[i].alias_group)];
    if (!storage.defined()) continue;
    at::Tensor target = to[i].tensor;
    target.set_data(view_like(from[i].tensor, storage));
  }
}

/// The builder's structure, ties and plain members, with the teacher's values and layouts.
std::shared_ptr<torch::nn::Module> build_module(const std::shared_ptr<torch::nn::Module>& teacher,
                                                const ModuleBuilder& build) {
  const auto from = module_tensors(*teacher);
  const auto build_like_teacher = [&] {
    auto module = build();
    if (!module) return module;
    const auto to = module_tensors(*module);
    check_same_names(from, to, type_name(*teacher));
    take_layout(from, to);
    return module;
  };
  const auto single = make_local_communicators(1);
  MetaOptions options;
  options.strict = false;
  auto copy =
      create_fake_score_meta(build_like_teacher, module_source(teacher), *single.front(), options)
          .module;
  // A teacher source leaves non-persistent buffers out; this teacher is at hand.
  const at::NoGradGuard no_grad;
  const auto to = module_tensors(*copy);
  for (size_t i = 0; i < to.size(); ++i) {
    if (from[i].kind == TensorKind::kNonPersistentBuffer ||
        to[i].kind == TensorKind::kNonPersistentBuffer) {
      detail::copy_once(to[i].tensor, from[i].tensor);
    }
  }
  return copy;
}

std::vector<NamedTensor> jit_tensors(const torch::jit::Module& module) {
  std::vector<NamedTensor> tensors;
  for (const auto& parameter : module.named_parameters()) {
    tensors.push_back({parameter.name, parameter.value, TensorKind::kParameter});
  }
  for (const auto& buffer : module.named_buffers()) {
    tensors.push_back({buffer.name, buffer.value, TensorKind::kBuffer});
  }
  return tensors;
}

}  // namespace

std::shared_ptr<torch::nn::Module> create_fake_score(
    const std::shared_ptr<torch::nn::Module>& teacher, const FakeScoreOptions& options) {
  const detail::NoInferenceMode no_inference;
  if (!teacher) {
    throw_error({ErrorCode::kConfig, -1, kCopyPhase, "teacher", "is null", "pass a module"});
  }
  if (!options.deep_copy) {
    detail::make_trainable(*teacher, module_tensors(*teacher));
    return teacher;
  }
  for (const auto& child : teacher->named_modules()) check_not_sharded(child.key());
  for (const NamedTensor& entry : module_tensors(*teacher)) check_not_sharded(entry.name);
  auto copy = options.build ? build_module(teacher, options.build) : clone_module(*teacher);
  detail::make_trainable(*copy, module_tensors(*copy));
  return copy;
}

torch::jit::Module create_fake_score(const torch::jit::Module& teacher,
                                     const FakeScoreOptions& options) {
  const detail::NoInferenceMode no_inference;
  torch::jit::Module module = teacher;
  if (options.deep_copy) {
    const auto from = jit_tensors(teacher);
    for (const NamedTensor& entry : from) check_not_sharded(entry.name);
    module = teacher.deepcopy();
    copy_storages(from, jit_tensors(module));
  }
  module.train();
  for (const auto& parameter : module.parameters()) detail::require_gradients(parameter);
  return module;
}

}  // namespace fakescore
