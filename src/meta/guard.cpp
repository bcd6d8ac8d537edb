#include <ATen/ATen.h>

#include <utility>

#include "meta/fallback.hpp"
#include "meta/guard_state.hpp"
#include "meta/recording_key.hpp"
#include "meta/seeded_eager_guard.hpp"
#include "meta/tape.hpp"

namespace fakescore {
namespace {

thread_local MetaInitGuard::State* current_state = nullptr;

std::unique_ptr<MetaInitGuard::State> begin(std::shared_ptr<InitTape> tape_or_null,
                                            detail::SeedSource& seeds) {
  detail::register_fallback();
  return std::make_unique<MetaInitGuard::State>(std::move(tape_or_null), seeds);
}

}  // namespace

namespace detail {

MetaInitGuard::State* current_guard() noexcept { return current_state; }

}  // namespace detail

MetaInitGuard::State::State(std::shared_ptr<InitTape> tape_or_null, detail::SeedSource& seed_source)
    : tape(std::move(tape_or_null)),
      seeds(seed_source),
      outer_(std::exchange(current_state, this)),
      key_(detail::recording_keys()) {}

MetaInitGuard::State::~State() { current_state = outer_; }

MetaInitGuard::MetaInitGuard(const MetaInitOptions& options)
    : tape_(new InitTape(options)), state_(begin(tape_, tape_->impl_->seeds)) {}

MetaInitGuard::~MetaInitGuard() {
  state_.reset();
  // An outer guard's key is still on: reading the tensors' versions is not to be recorded there.
  const MetaInitPause not_recorded;
  tape_->impl_->seal();
}

bool MetaInitGuard::is_supported() noexcept { return detail::recording_key().has_value(); }

struct MetaInitPause::State {
  c10::impl::ExcludeDispatchKeyGuard not_recorded{detail::recording_keys()};
};

MetaInitPause::MetaInitPause() : state_(std::make_unique<State>()) {}

MetaInitPause::~MetaInitPause() = default;

detail::SeededEagerGuard::SeededEagerGuard(const MetaInitOptions& options)
    : seeds_(std::make_unique<SeedSource>(options)), state_(begin(nullptr, *seeds_)) {}

detail::SeededEagerGuard::~SeededEagerGuard() = default;

void materialize_into(const at::Tensor& meta, const at::Tensor& real) {
  if (!meta.defined() || !real.defined()) {
    detail::refuse("build", "materialize_into", "a tensor is undefined", "");
  }
  if (meta.sizes() != real.sizes() || meta.scalar_type() != real.scalar_type()) {
    detail::refuse(
        "build", "materialize_into",
        c10::str("the tensor has sizes ", meta.sizes(), " and dtype ", meta.scalar_type(),
                 ", its value ", real.sizes(), " and ", real.scalar_type()),
        "");
  }
  // set_data() refuses to go from meta to CPU; this is what it does beneath its checks. The tensor
  // object keeps its autograd part, hence leaf status and requires_grad.
  meta.unsafeGetTensorImpl()->shallow_copy_from(real.getIntrusivePtr());
}

}  // namespace fakescore
