// Loaded before the C library: a name server that does not answer for names under ".invalid".
#include <dlfcn.h>
#include <netdb.h>
#include <unistd.h>

#include <string_view>

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** found) {
  constexpr unsigned kLongerThanAnyTest = 1000;
  if (node != nullptr && std::string_view(node).ends_with(".invalid")) ::sleep(kLongerThanAnyTest);
  static const auto next =
      reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return next(node, service, hints, found);
}
