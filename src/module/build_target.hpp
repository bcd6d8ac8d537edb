#pragma once

#include <memory>

#include "fakescore/fill/fill_tensors.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"

namespace fakescore::detail {

/// A module that was built on meta, and what there is to fill in it: its registered tensors first,
/// then those on the tape that are still alive and that nobody registered.
struct BuiltModule {
  std::shared_ptr<torch::nn::Module> module;
  FillTarget target;
};

/// Calls `build` under a MetaInitGuard and gives its tensors the dtypes of the options. Throws
/// BuildError where it returns no module, ConfigError for dtype rules that do not fit the module.
BuiltModule build_target(const ModuleBuilder& build, const MetaOptions& options);

}  // namespace fakescore::detail
