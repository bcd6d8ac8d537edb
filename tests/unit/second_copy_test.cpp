// Two copies of the library in one process, as where an extension module brings its own: the second
// one to be used says so. This program links neither.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <exception>
#include <filesystem>
#include <string>

#include "fakescore/meta/meta_init.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Library {
 public:
  explicit Library(const std::filesystem::path& path)
      : handle_(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {}

  bool is_loaded() const { return handle_ != nullptr; }

  /// Makes and destroys a MetaInitGuard; returns what it threw.
  std::string use() const {
    using Make = void (*)(void*, const MetaInitOptions&);
    using Destroy = void (*)(void*);
    const auto make = find<Make>("_ZN9fakescore13MetaInitGuardC1ERKNS_15MetaInitOptionsE");
    const auto destroy = find<Destroy>("_ZN9fakescore13MetaInitGuardD1Ev");
    alignas(MetaInitGuard) std::byte memory[sizeof(MetaInitGuard)];
    try {
      make(memory, {});
    } catch (const std::exception& error) {
      return error.what();
    }
    destroy(memory);
    return "";
  }

 private:
  template <typename Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(::dlsym(handle_, name));
  }

  void* handle_;
};

TEST(SecondCopy, SaysThatThereIsAnother) {
  const testing::TempFolder folder;
  const auto path = folder.path() / "libfakescore_copy.so";
  std::filesystem::copy_file(FAKESCORE_LIBRARY, path);
  const Library first(FAKESCORE_LIBRARY);
  const Library second(path);
  ASSERT_TRUE(first.is_loaded() && second.is_loaded()) << ::dlerror();
  EXPECT_EQ(first.use(), "");
  EXPECT_THAT(second.use(), AllOf(HasSubstr(path.string()), HasSubstr("is a second copy")));
  EXPECT_EQ(first.use(), "");
}

}  // namespace
}  // namespace fakescore
