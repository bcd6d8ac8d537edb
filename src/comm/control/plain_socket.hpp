#pragma once

#include <chrono>
#include <string>

namespace fakescore::detail {

/// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) noexcept : value_(value) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : value_(other.release()) {}
  Descriptor& operator=(Descriptor&&) = delete;

  int get() const noexcept { return value_; }
  int release() noexcept;

 private:
  int value_;
};

/// What a try to reach a TCPStore came to.
struct StoreProbe {
  std::string address;  ///< where one answered, as numbers; empty where none did
  std::string failure;  ///< why none did
};

/// Resolves `host` and says hello, once, to each of its addresses as a c10d client does. Each gets
/// at most `patience` to answer.
StoreProbe probe_store(const std::string& host, int port, std::chrono::milliseconds patience);

/// Listens on every address of this host; throws std::system_error.
Descriptor listen_on(int port);

/// Whether this process listens on the port already.
bool listens_on(int port);

}  // namespace fakescore::detail
