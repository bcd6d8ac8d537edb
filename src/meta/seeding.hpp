#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdint>
#include <mutex>
#include <optional>

#include "fakescore/meta/meta_init.hpp"
#include "meta/op_info.hpp"

namespace fakescore::detail {

/// Of one random op: its base is that of its SeedSource, or of a generator of the caller's own.
struct OpSeed {
  std::optional<uint64_t> own_base;
  uint64_t count = 0;
};

/// Hands out the seeds of RandomMode::kPerOp: a function of the base seed and of how many random
/// ops came before, so that recording and seeded eager construction agree.
class SeedSource {
 public:
  explicit SeedSource(const MetaInitOptions& options);
  RandomMode mode() const noexcept { return mode_; }
  uint64_t base() const noexcept { return base_seed_; }
  void set_base(uint64_t base) noexcept { base_seed_ = base; }
  /// `generator` is what the op was called with.
  OpSeed next(const c10::IValue& generator);
  uint64_t value(const OpSeed& seed) const;

 private:
  RandomMode mode_;
  uint64_t base_seed_;
  uint64_t count_ = 0;
};

/// The turn of one thread at the process's default generator and default dtype, which replays and
/// seeded calls switch for a while. Recursive: an op that is called during a replay
/// may begin another replay.
std::unique_lock<std::recursive_mutex> take_generator_turn();

/// Keeps the turn, and puts the default CPU generator's state back when it goes.
class DefaultGeneratorKeeper {
 public:
  DefaultGeneratorKeeper();
  ~DefaultGeneratorKeeper();
  DefaultGeneratorKeeper(const DefaultGeneratorKeeper&) = delete;
  DefaultGeneratorKeeper& operator=(const DefaultGeneratorKeeper&) = delete;

 private:
  std::unique_lock<std::recursive_mutex> turn_;
  at::Generator generator_;
  at::Tensor state_;
};

void seed_default_generator(uint64_t seed);
at::Tensor generator_state(at::Generator generator);
void set_generator_state(at::Generator generator, const at::Tensor& state);

/// The generator that an op draws from: the one in its argument, else the default one.
at::Generator generator_of(const c10::IValue& argument);

/// Runs the op on the arguments on top of `stack`, drawing from the default generator seeded with
/// `seed`, whose state it leaves as found.
void call_seeded(const c10::OperatorHandle& op, const OpInfo& info, torch::jit::Stack* stack,
                 uint64_t seed);

/// The argument at `index` of the op whose `count` arguments lie on top of the stack.
inline c10::IValue& stack_argument(torch::jit::Stack& stack, size_t count, size_t index) {
  return stack[stack.size() - count + index];
}

}  // namespace fakescore::detail
