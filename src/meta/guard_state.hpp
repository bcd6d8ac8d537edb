#pragma once

#include <c10/core/impl/LocalDispatchKeySet.h>

#include <memory>

#include "fakescore/meta/meta_init.hpp"
#include "meta/seeding.hpp"

namespace fakescore {

/// What the dispatcher fallback finds for its thread while a guard lives.
struct MetaInitGuard::State {
  State(std::shared_ptr<InitTape> tape_or_null, detail::SeedSource& seed_source);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::shared_ptr<InitTape> tape;  ///< null: eager, with seeds
  detail::SeedSource& seeds;

 private:
  State* outer_;
  c10::impl::IncludeDispatchKeyGuard key_;
};

namespace detail {

/// Of the innermost guard of this thread; null where there is none.
MetaInitGuard::State* current_guard() noexcept;

}  // namespace detail
}  // namespace fakescore
