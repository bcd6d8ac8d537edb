#pragma once

#include <exception>
#include <functional>
#include <string>

namespace fakescore::testing {

/// The text of the `Expected` error that `call` throws; what happened instead where it does not.
template <class Expected>
std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Expected& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another class: ") + error.what();
  }
  return "no error";
}

}  // namespace fakescore::testing
