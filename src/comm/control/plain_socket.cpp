#include "comm/control/plain_socket.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "comm/control/deadline.hpp"

namespace fakescore::detail {
namespace {

constexpr int kBacklog = 2048;

// What c10d's client sends first: a query of one byte that presents a magic number, and one that
// asks for a number back. The same since torch 2.3; tests/launcher/store_door_test.cpp finds a
// change.
constexpr uint8_t kValidate = 0;
constexpr uint32_t kMagic = 0x3C85F7CE;
constexpr uint8_t kPing = 13;

std::string text_of(int error) { return std::generic_category().message(error); }

struct AddressList {
  addrinfo* first = nullptr;
  ~AddressList() {
    if (first != nullptr) ::freeaddrinfo(first);
  }
};

bool wait_for_event(int socket, short event, Deadline& deadline) {
  for (;;) {
    const auto left = deadline.left();
    if (left.count() <= 0) return false;
    pollfd entry{socket, event, 0};
    const auto slice = std::min<int64_t>(left.count(), 500);
    const int ready = ::poll(&entry, 1, static_cast<int>(slice));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

/// Empty where the connection is there.
std::string connect_within(int socket, const addrinfo& to, Deadline& deadline) {
  if (::connect(socket, to.ai_addr, to.ai_addrlen) == 0) return "";
  if (errno != EINPROGRESS) return text_of(errno);
  if (!wait_for_event(socket, POLLOUT, deadline)) return "no answer to a connection";
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length);
  return error == 0 ? "" : text_of(error);
}

/// Whether what listens there gives the number back.
bool answers_as_store(int socket, Deadline& deadline) {
  const auto number = static_cast<uint32_t>(::getpid());
  std::array<uint8_t, 10> hello{kValidate};
  std::memcpy(&hello[1], &kMagic, sizeof kMagic);
  hello[5] = kPing;
  std::memcpy(&hello[6], &number, sizeof number);
  if (::send(socket, hello.data(), hello.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(hello.size())) {
    return false;
  }
  std::array<uint8_t, sizeof number> reply{};
  for (size_t received = 0; received < reply.size();) {
    if (!wait_for_event(socket, POLLIN, deadline)) return false;
    const auto count = ::recv(socket, reply.data() + received, reply.size() - received, 0);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count <= 0) return false;
    received += static_cast<size_t>(count);
  }
  return std::memcmp(reply.data(), &number, sizeof number) == 0;
}

std::string numbers_of(const addrinfo& address) {
  std::array<char, NI_MAXHOST> text{};
  const int error = ::getnameinfo(address.ai_addr, address.ai_addrlen, text.data(), text.size(),
                                  nullptr, 0, NI_NUMERICHOST);
  return error == 0 ? text.data() : "";
}

StoreProbe probe_address(const addrinfo& address, std::chrono::milliseconds patience) {
  Deadline deadline(patience);
  const Descriptor socket(
      ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, address.ai_protocol));
  if (socket.get() < 0) return {"", text_of(errno)};
  std::string failure = connect_within(socket.get(), address, deadline);
  if (!failure.empty()) return {"", failure};
  if (!answers_as_store(socket.get(), deadline)) {
    return {"", "what listens there does not answer as a TCPStore does"};
  }
  return {numbers_of(address), ""};
}

/// Of IPv6 and IPv4 at once where the host has both; -1 and errno where it cannot.
int bind_to(int family, int port) {
  Descriptor socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return -1;
  const int on = 1;
  const int off = 0;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in6 any6{};
  sockaddr_in any4{};
  const sockaddr* address = reinterpret_cast<const sockaddr*>(&any4);
  socklen_t length = sizeof any4;
  any4.sin_family = AF_INET;
  any4.sin_port = htons(static_cast<uint16_t>(port));
  if (family == AF_INET6) {
    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    any6.sin6_family = AF_INET6;
    any6.sin6_port = htons(static_cast<uint16_t>(port));
    address = reinterpret_cast<const sockaddr*>(&any6);
    length = sizeof any6;
  }
  if (::bind(socket.get(), address, length) != 0) return -1;
  return ::listen(socket.get(), kBacklog) == 0 ? socket.release() : -1;
}

bool is_listener_on(int descriptor, int port) {
  int listens = 0;
  socklen_t length = sizeof listens;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || !listens) {
    return false;
  }
  sockaddr_storage address{};
  length = sizeof address;
  if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
  // The port stands at the same place in both kinds.
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  const bool is_internet = address.ss_family == AF_INET || address.ss_family == AF_INET6;
  return is_internet && ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port) == port;
}

}  // namespace

Descriptor::~Descriptor() {
  if (value_ >= 0) ::close(value_);
}

int Descriptor::release() noexcept { return std::exchange(value_, -1); }

StoreProbe probe_store(const std::string& host, int port, std::chrono::milliseconds patience) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  AddressList found;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found.first);
  if (error != 0) {
    return {"", "the name cannot be resolved: " +
                    (error == EAI_SYSTEM ? text_of(errno) : std::string(::gai_strerror(error)))};
  }
  StoreProbe probe;
  for (const addrinfo* address = found.first; address != nullptr; address = address->ai_next) {
    probe = probe_address(*address, patience);
    if (!probe.address.empty()) break;
  }
  return probe;
}

Descriptor listen_on(int port) {
  int socket = bind_to(AF_INET6, port);
  if (socket < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
    socket = bind_to(AF_INET, port);
  }
  if (socket < 0) throw std::system_error(errno, std::generic_category());
  return Descriptor(socket);
}

bool listens_on(int port) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
  if (!folder) return false;
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    int descriptor = -1;
    std::from_chars(name.data(), name.data() + name.size(), descriptor);
    if (descriptor >= 0 && is_listener_on(descriptor, port)) return true;
  }
  return false;
}

}  // namespace fakescore::detail
