#include "meta/seeding.hpp"

#include <ATen/CPUGeneratorImpl.h>

namespace fakescore::detail {
namespace {

/// The finaliser of SplitMix64: neighbouring counts give seeds that have nothing in common.
uint64_t mix(uint64_t base, uint64_t count) {
  uint64_t z = base + 0x9e3779b97f4a7c15ull * (count + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

uint64_t default_seed() {
  const auto turn = take_generator_turn();
  return at::detail::getDefaultCPUGenerator().current_seed();
}

}  // namespace

std::unique_lock<std::recursive_mutex> take_generator_turn() {
  static std::recursive_mutex mutex;
  return std::unique_lock<std::recursive_mutex>(mutex);
}

SeedSource::SeedSource(const MetaInitOptions& options)
    : mode_(options.random), base_seed_(options.seed ? *options.seed : default_seed()) {}

OpSeed SeedSource::next(const c10::IValue& generator) {
  OpSeed seed{std::nullopt, count_++};
  if (!generator.isNone()) seed.own_base = generator.toGenerator().current_seed();
  return seed;
}

uint64_t SeedSource::value(const OpSeed& seed) const {
  return mix(seed.own_base.value_or(base_seed_), seed.count);
}

at::Tensor generator_state(at::Generator generator) {
  std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void set_generator_state(at::Generator generator, const at::Tensor& state) {
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

void seed_default_generator(uint64_t seed) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_current_seed(seed);
}

DefaultGeneratorKeeper::DefaultGeneratorKeeper()
    : turn_(take_generator_turn()),
      generator_(at::detail::getDefaultCPUGenerator()),
      state_(generator_state(generator_)) {}

DefaultGeneratorKeeper::~DefaultGeneratorKeeper() { set_generator_state(generator_, state_); }

at::Generator generator_of(const c10::IValue& argument) {
  return argument.isNone() ? at::detail::getDefaultCPUGenerator() : argument.toGenerator();
}

void call_seeded(const c10::OperatorHandle& op, const OpInfo& info, torch::jit::Stack* stack,
                 uint64_t seed) {
  const DefaultGeneratorKeeper keeper;
  seed_default_generator(seed);
  if (info.generator) stack_argument(*stack, info.writes.size(), *info.generator) = c10::IValue();
  op.callBoxed(stack);
}

}  // namespace fakescore::detail
