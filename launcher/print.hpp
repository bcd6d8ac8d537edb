#pragma once

#include <fmt/core.h>
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

#include "error/printable.hpp"

namespace fakescore::launcher {

/// What print() gives to fmt for a T: for a text its printable form, else the T itself.
template <typename T>
using Shown = std::conditional_t<std::is_convertible_v<const T&, std::string_view>, std::string, T>;

template <typename T>
Shown<T> show(const T& value) {
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return detail::printable(value);
  } else {
    return value;
  }
}

/// Prints as fmt::print() does. All tables and progress go through here: names of files and tensors
/// may hold a terminal's escape sequences, or begin a line of their own.
template <typename... Args>
void print(std::FILE* file, fmt::format_string<Shown<Args>...> form, const Args&... args) {
  fmt::print(file, form, show(args)...);
}
/// On standard output.
template <typename... Args>
void print(fmt::format_string<Shown<Args>...> form, const Args&... args) {
  fmt::print(form, show(args)...);
}

}  // namespace fakescore::launcher
