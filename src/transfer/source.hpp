#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <variant>

#include "fakescore/teacher/teacher.hpp"

namespace fakescore::detail {

/// They come from another rank.
struct Received {};

/// They lie in host memory once `open` has returned, as the 1-D uint8 wire bytes of the layout's
/// only range.
struct InHostMemory {
  std::function<at::Tensor()> open;
  /// The file of which `open` returns the mapping, where that is so. Who only copies reads from the
  /// file what is large; who sends does so from the mapping, and lets go of it as it goes.
  std::shared_ptr<const FileBytes> file = nullptr;
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
using Source = std::variant<Received, InHostMemory, OnDevice, InDestination>;

}  // namespace fakescore::detail
