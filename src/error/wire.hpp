#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "fakescore/error.hpp"

/// The one form in which values travel between ranks: MessagePack (https://msgpack.org) of an array
/// that begins with a version. A record is an array of its fields, which an overload of
/// `wire_fields(Record&)` ties; strings may hold any bytes.
namespace fakescore::detail {

/// Goes up with every change of what travels: ranks of two versions must not guess.
inline constexpr int kWireVersion = 1;

template <typename T>
concept WireRecord = requires(T& value) {
  wire_fields(value);
};

template <typename T>
struct WireNode {
  static nlohmann::json from(const T& value) {
    if constexpr (WireRecord<T>) {
      auto array = nlohmann::json::array();
      // wire_fields ties them for both ways: what is tied here is only read.
      std::apply(
          [&](const auto&... fields) {
            (array.push_back(WireNode<std::remove_cvref_t<decltype(fields)>>::from(fields)), ...);
          },
          wire_fields(const_cast<T&>(value)));
      return array;
    } else {
      return nlohmann::json(value);
    }
  }
  static void to(const nlohmann::json& node, T& value) {
    if constexpr (WireRecord<T>) {
      size_t i = 0;
      std::apply(
          [&](auto&... fields) {
            (WireNode<std::remove_cvref_t<decltype(fields)>>::to(node.at(i++), fields), ...);
          },
          wire_fields(value));
    } else {
      node.get_to(value);
    }
  }
};

template <typename T>
struct WireNode<std::vector<T>> {
  static nlohmann::json from(const std::vector<T>& values) {
    auto array = nlohmann::json::array();
    for (const auto& value : values) array.push_back(WireNode<T>::from(value));
    return array;
  }
  static void to(const nlohmann::json& node, std::vector<T>& values) {
    values.clear();
    values.reserve(node.size());
    for (const auto& element : node) WireNode<T>::to(element, values.emplace_back());
  }
};

template <typename Key, typename T>
struct WireNode<std::map<Key, T>> {
  static nlohmann::json from(const std::map<Key, T>& values) {
    auto array = nlohmann::json::array();
    for (const auto& [key, value] : values) {
      array.push_back(WireNode<Key>::from(key));
      array.push_back(WireNode<T>::from(value));
    }
    return array;
  }
  static void to(const nlohmann::json& node, std::map<Key, T>& values) {
    values.clear();
    for (size_t i = 0; i < node.size(); i += 2) {
      Key key{};
      WireNode<Key>::to(node.at(i), key);
      WireNode<T>::to(node.at(i + 1), values[key]);
    }
  }
};

template <typename T>
struct WireNode<std::optional<T>> {
  static nlohmann::json from(const std::optional<T>& value) {
    auto array = nlohmann::json::array();
    if (value) array.push_back(WireNode<T>::from(*value));
    return array;
  }
  static void to(const nlohmann::json& node, std::optional<T>& value) {
    value.reset();
    if (!node.empty()) WireNode<T>::to(node.at(0), value.emplace());
  }
};

template <typename... T>
std::string to_wire(const T&... values) {
  auto array = nlohmann::json::array();
  array.push_back(kWireVersion);
  (array.push_back(WireNode<T>::from(values)), ...);
  std::string bytes;
  nlohmann::json::to_msgpack(array, bytes);
  return bytes;
}

/// Throws MismatchError where the bytes are of another version or damaged; `what` names them.
template <typename... T>
std::tuple<T...> from_wire(const std::string& bytes, const std::string& what) {
  constexpr const char* kRemedy = "run the same build of fakescore on every rank";
  try {
    const nlohmann::json array = nlohmann::json::from_msgpack(bytes);
    if (array.at(0).get<int>() != kWireVersion) {
      throw MismatchError(what,
                          "has format version " + array.at(0).dump() + ", this rank reads " +
                              std::to_string(kWireVersion),
                          kRemedy);
    }
    std::tuple<T...> values;
    size_t i = 1;
    std::apply(
        [&](auto&... value) {
          (WireNode<std::remove_cvref_t<decltype(value)>>::to(array.at(i++), value), ...);
        },
        values);
    return values;
  } catch (const nlohmann::json::exception&) {
    throw MismatchError(what, "could not be read", kRemedy);
  }
}

}  // namespace fakescore::detail
