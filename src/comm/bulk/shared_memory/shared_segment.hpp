#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>

namespace fakescore::detail {

/// Where other processes of a host find a segment.
struct SegmentAddress {
  int process = 0;
  int file = 0;      ///< a descriptor of that process
  std::string name;  ///< random, so that no other file is taken for it
};

inline auto wire_fields(SegmentAddress& address) {
  return std::tie(address.process, address.file, address.name);
}

/// Memory that processes of one host map. It has no name in a file system: it is gone with the
/// last process that maps it, however that ends. Pages that nobody writes to take no memory.
class SharedSegment {
 public:
  /// A new one, of zeros. Throws std::system_error where the kernel gives none.
  static SharedSegment make(size_t bytes);
  /// Another process's. Throws std::system_error where this process may not look into that one, and
  /// std::runtime_error where it is another one than it says: ids of processes may be those of
  /// another container.
  static SharedSegment open(const SegmentAddress& address, size_t bytes);

  SharedSegment(SharedSegment&& other) noexcept;
  SharedSegment& operator=(SharedSegment&&) = delete;
  ~SharedSegment();

  std::byte* data() const noexcept { return data_; }
  /// Of one that this process made: others find it for as long as this object exists.
  const SegmentAddress& address() const noexcept { return address_; }

 private:
  SharedSegment() = default;
  void map(int file, size_t bytes);

  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  SegmentAddress address_{0, -1, {}};
};

}  // namespace fakescore::detail
