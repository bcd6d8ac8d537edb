#pragma once

#include <memory>
#include <vector>

#include "fakescore/core/manifest.hpp"
#include "fakescore/core/meta_init.hpp"
#include "fakescore/core/module_tensors.hpp"
#include "fakescore/factory/fake_score_meta.hpp"
#include "sync/byte_ranges.hpp"

namespace fakescore::detail {

/// A module that was built on meta, and what is known of it before anything is allocated.
struct MetaStructure {
  std::shared_ptr<torch::nn::Module> module;
  std::shared_ptr<InitTape> tape;
  std::vector<ModuleTensor> tensors;  ///< registered ones first, then those that nobody registered
  Manifest manifest;                  ///< of `tensors`
  std::vector<std::vector<ByteRange>> occupied;  ///< by alias group
};

/// Calls `build` under a MetaInitGuard and gives its tensors the dtypes of the options. Throws
/// BuildError where it returns no module, ConfigError for dtype rules that do not fit the module.
MetaStructure build_structure(const ModuleBuilder& build, const MetaOptions& options);

}  // namespace fakescore::detail
