#pragma once

#include <cstddef>

namespace fakescore::detail {

/// Starts steps 0 to `count`, and finishes each before the one `slots` later starts.
template <typename Start, typename Finish>
void keep_in_flight(size_t count, size_t slots, Start start, Finish finish) {
  for (size_t i = 0; i < count + slots; ++i) {
    if (i >= slots) finish(i - slots);
    if (i < count) start(i);
  }
}

}  // namespace fakescore::detail
