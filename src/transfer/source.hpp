#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <variant>

#include "fakescore/teacher/teacher.hpp"

namespace fakescore::detail {

/// They come from another rank.
struct Received {};

/// They are a mapped file's bytes. Who only copies reads from the file what is large; who sends
/// does so from the mapping, and lets go of it as it goes.
struct InFile {
  std::shared_ptr<const FileBytes> bytes;
};

/// They lie in host memory once `open` has returned, as the 1-D uint8 wire bytes of the layout's
/// only range, or of what a cut tensor's rank holds of it (Cut::held).
struct InHostMemory {
  std::function<at::Tensor()> open;
};

/// They lie on the destination's GPU once `open` has returned, in the same form.
struct OnDevice {
  std::function<at::Tensor()> open;
};

/// They lie in the destination once `fill` has returned; with an empty `fill` they do already.
struct InDestination {
  std::function<void()> fill;
};

/// Where the values of one storage come from, on one rank. `open` and `fill` are called right
/// before the first byte is needed, and what `open` returned is dropped with the last one.
using Source = std::variant<Received, InFile, InHostMemory, OnDevice, InDestination>;

inline bool is_on_host(const Source& source) {
  return std::holds_alternative<InFile>(source) || std::holds_alternative<InHostMemory>(source);
}

}  // namespace fakescore::detail
