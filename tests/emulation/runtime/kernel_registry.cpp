#include "runtime/kernel_registry.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <utility>

namespace fakescore::emulation {
namespace {

std::string demangled(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : mangled;
}

/// `ns::kernel` of `ns::kernel(float*, int)`.
std::string without_parameters(const std::string& signature) {
  return signature.substr(0, signature.find('('));
}

}  // namespace

void KernelRegistry::declare(const void* stub, const char* mangled_name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  mangled_names_[stub] = mangled_name;
}

void KernelRegistry::add_body(const void* stub, KernelBody body) {
  const std::lock_guard<std::mutex> lock(mutex_);
  bodies_by_stub_[stub] = std::move(body);
}

void KernelRegistry::add_body(const std::string& name, KernelBody body) {
  const std::lock_guard<std::mutex> lock(mutex_);
  bodies_by_name_[name] = std::move(body);
}

KernelBody KernelRegistry::body_of(const void* stub) {
  const std::string name = without_parameters(name_of(stub));
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto found = bodies_by_stub_.find(stub); found != bodies_by_stub_.end()) {
    return found->second;
  }
  const auto found = bodies_by_name_.find(name);
  return found == bodies_by_name_.end() ? nullptr : found->second;
}

std::string KernelRegistry::name_of(const void* stub) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = mangled_names_.find(stub);
  return found == mangled_names_.end() ? "of unknown name" : demangled(found->second);
}

KernelRegistry& kernel_registry() {
  static auto* const registry = new KernelRegistry;
  return *registry;
}

}  // namespace fakescore::emulation
