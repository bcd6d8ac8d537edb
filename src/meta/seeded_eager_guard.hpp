#pragma once

#include <memory>

#include "fakescore/export.hpp"
#include "fakescore/meta/meta_init.hpp"
#include "meta/guard_state.hpp"
#include "meta/seeding.hpp"

namespace fakescore::detail {

/// For tests: runs eagerly, giving each random op the seed that it would replay with under kPerOp.
/// Exported for tests that link libfakescore.so.
class FAKESCORE_API SeededEagerGuard {
 public:
  explicit SeededEagerGuard(const MetaInitOptions& options = {});
  ~SeededEagerGuard();
  SeededEagerGuard(const SeededEagerGuard&) = delete;
  SeededEagerGuard& operator=(const SeededEagerGuard&) = delete;

 private:
  std::unique_ptr<SeedSource> seeds_;
  std::unique_ptr<MetaInitGuard::State> state_;
};

}  // namespace fakescore::detail
