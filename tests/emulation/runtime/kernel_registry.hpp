#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "emulation.hpp"

namespace fakescore::emulation {

/// The kernels of the libraries that are loaded, and the host bodies that stand in for some.
class KernelRegistry {
 public:
  /// As the code that nvcc makes says at start: the host stub and the mangled name.
  void declare(const void* stub, const char* mangled_name);

  void add_body(const void* stub, KernelBody body);
  void add_body(const std::string& name, KernelBody body);

  /// Empty where the kernel has none.
  KernelBody body_of(const void* stub);
  std::string name_of(const void* stub);

 private:
  std::mutex mutex_;
  std::unordered_map<const void*, const char*> mangled_names_;
  std::unordered_map<const void*, KernelBody> bodies_by_stub_;
  std::unordered_map<std::string, KernelBody> bodies_by_name_;
};

KernelRegistry& kernel_registry();

}  // namespace fakescore::emulation
