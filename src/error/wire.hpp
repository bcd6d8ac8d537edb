#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "fakescore/error.hpp"

/// The one form in which values travel between ranks (what has a fixed length aside: the heads of
/// messages over MPI, chunks of tensors, digests): MessagePack (https://msgpack.org) of an array
/// that begins with a version. A record is an array of its fields, which an overload of
/// `wire_fields(Record&)` ties; strings may hold any bytes.
namespace fakescore::detail {

/// Goes up with every change of what travels: ranks of two versions must not guess.
inline constexpr int kWireVersion = 5;

/// Bytes that are no value of the type that was asked for.
class WireDamage : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void require_elements(const nlohmann::json& node, size_t count) {
  if (!node.is_array() || node.size() != count) throw WireDamage("another number of elements");
}

template <typename T>
T integer_from(const nlohmann::json& node) {
  const bool fits = node.is_number_unsigned()  ? std::in_range<T>(node.get<uint64_t>())
                    : node.is_number_integer() ? std::in_range<T>(node.get<int64_t>())
                                               : false;
  if (!fits) throw WireDamage("no number, or one that does not fit");
  return node.get<T>();
}

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
      require_elements(node, std::tuple_size_v<decltype(wire_fields(value))>);
      size_t i = 0;
      std::apply(
          [&](auto&... fields) {
            (WireNode<std::remove_cvref_t<decltype(fields)>>::to(node.at(i++), fields), ...);
          },
          wire_fields(value));
    } else if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(integer_from<std::underlying_type_t<T>>(node));
    } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      value = integer_from<T>(node);
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
    for (const auto& element : node.get_ref<const nlohmann::json::array_t&>()) {
      WireNode<T>::to(element, values.emplace_back());
    }
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
    require_elements(node, node.size() / 2 * 2);
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
    require_elements(node, node.empty() ? 0 : 1);
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
    require_elements(array, sizeof...(T) + 1);
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
  } catch (const WireDamage&) {
    throw MismatchError(what, "could not be read", kRemedy);
  }
}

}  // namespace fakescore::detail
