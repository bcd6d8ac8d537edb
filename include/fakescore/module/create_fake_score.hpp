#pragma once

#include <functional>
#include <memory>

#include "fakescore/export.hpp"

namespace torch::jit {
struct Module;
}
namespace torch::nn {
class Module;
}

namespace fakescore {

/// Makes a module of the teacher's structure; called on every rank.
using ModuleBuilder = std::function<std::shared_ptr<torch::nn::Module>()>;

struct FakeScoreOptions {
  /// Copy the teacher; false returns the same instance, in training mode.
  bool deep_copy = true;
  /// How to make a module of the teacher's class, for classes that cannot clone() themselves.
  ModuleBuilder build = {};
};

/// The fake score of a teacher in this process: the single-process fallback of
/// create_fake_score_meta.
///
/// With `deep_copy`, it is a copy in training mode, in which every floating-point or complex
/// parameter requires gradients. Dtypes, strides, buffers and sharing of storage are the teacher's;
/// the teacher is not changed. The class must be torch::nn::Cloneable, or `build` must be given.
/// clone() may make two tensor objects of a parameter that the teacher registered twice: they share
/// storage but not gradients. With `build`, the builder decides what shares storage, and its plain
/// members are kept: views of registered tensors see the teacher's values.
///
/// Without `deep_copy`, it is the teacher itself, with the same two settings; nothing is checked.
///
/// Throws ConfigError for an FSDP-wrapped teacher ("_fsdp_wrapped_module" in a name), which only
/// create_fake_score_meta with a builder and a TeacherSource can copy; BuildError naming the type
/// if it can neither be cloned nor built.
FAKESCORE_API std::shared_ptr<torch::nn::Module> create_fake_score(
    const std::shared_ptr<torch::nn::Module>& teacher, const FakeScoreOptions& options = {});

/// The same for a TorchScript module; `options.build` is not needed and not used.
FAKESCORE_API torch::jit::Module create_fake_score(const torch::jit::Module& teacher,
                                                   const FakeScoreOptions& options = {});

}  // namespace fakescore
