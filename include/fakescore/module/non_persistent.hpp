#pragma once

#include <string>
#include <vector>

#include "fakescore/export.hpp"

namespace fakescore {

/// A module derives from this to say which of its own buffers a state dict leaves out, as
/// register_buffer(..., persistent=False) does in Python: LibTorch's C++ API has no such flag.
/// A non-persistent buffer is replayed, never counted as missing and never read from a teacher.
class FAKESCORE_API NonPersistentBuffers {
 public:
  virtual ~NonPersistentBuffers() = default;
  /// Names as given to register_buffer, without the module's own prefix.
  virtual std::vector<std::string> non_persistent_buffers() const = 0;
};

}  // namespace fakescore
