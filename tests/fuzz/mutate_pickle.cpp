#include <array>
#include <cstring>
#include <vector>

#include "fuzz/fuzz_target.hpp"

namespace fakescore::fuzz {
namespace {

/// How many bytes follow an opcode: their number, or a length that comes first, or lines.
size_t argument_bytes(std::string_view rest, uint8_t opcode) {
  const auto counted = [&](size_t width) {
    uint64_t length = 0;
    if (rest.size() < width) return rest.size();
    std::memcpy(&length, rest.data(), width);
    return width + std::min<uint64_t>(length, rest.size() - width);
  };
  const auto lines = [&](int count) {
    size_t end = 0;
    for (; count > 0 && end != std::string_view::npos; --count) end = rest.find('\n', end) + 1;
    return end == 0 ? rest.size() : end;
  };
  switch (opcode) {
    case 0x80:  // PROTO
    case 'K':   // BININT1
    case 'h':   // BINGET
    case 'q':   // BINPUT
      return 1;
    case 'M':  // BININT2
      return 2;
    case 'J':  // BININT
    case 'j':  // LONG_BINGET
    case 'r':  // LONG_BINPUT
      return 4;
    case 'G':   // BINFLOAT
    case 0x95:  // FRAME
      return 8;
    case 0x8a:  // LONG1
    case 'U':   // SHORT_BINSTRING
    case 'C':   // SHORT_BINBYTES
    case 0x8c:  // SHORT_BINUNICODE
      return counted(1);
    case 0x8b:  // LONG4
    case 'T':   // BINSTRING
    case 'B':   // BINBYTES
    case 'X':   // BINUNICODE
      return counted(4);
    case 0x8d:  // BINUNICODE8
    case 0x8e:  // BINBYTES8
    case 0x96:  // BYTEARRAY8
      return counted(8);
    case 'c':  // GLOBAL
    case 'i':  // INST
      return lines(2);
    default:
      return 0;
  }
}

std::vector<std::string> split(const std::string& pickle) {
  std::vector<std::string> opcodes;
  std::string_view rest = pickle;
  while (!rest.empty()) {
    const auto opcode = static_cast<uint8_t>(rest[0]);
    const size_t bytes = std::min(1 + argument_bytes(rest.substr(1), opcode), rest.size());
    opcodes.emplace_back(rest.substr(0, bytes));
    rest.remove_prefix(bytes);
  }
  return opcodes;
}

using namespace std::string_view_literals;

constexpr std::array kOpcodes{"N"sv,
                              "\x88"sv,
                              "\x89"sv,
                              "K\x00"sv,
                              "K\x01"sv,
                              "M\xff\xff"sv,
                              "J\xff\xff\xff\xff"sv,
                              "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"sv,
                              "\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f"sv,
                              "G\x7f\xf8\x00\x00\x00\x00\x00\x00"sv,
                              "X\x01\x00\x00\x00w"sv,
                              "\x8c\x00"sv,
                              "C\x01\x00"sv,
                              "}"sv,
                              "]"sv,
                              ")"sv,
                              "\x8f"sv,
                              "("sv,
                              "t"sv,
                              "l"sv,
                              "d"sv,
                              "\x91"sv,
                              "\x85"sv,
                              "\x86"sv,
                              "\x87"sv,
                              "a"sv,
                              "e"sv,
                              "\x90"sv,
                              "s"sv,
                              "u"sv,
                              "b"sv,
                              "R"sv,
                              "\x81"sv,
                              "\x92"sv,
                              "\x93"sv,
                              "Q"sv,
                              "0"sv,
                              "1"sv,
                              "2"sv,
                              "\x94"sv,
                              "q\x00"sv,
                              "h\x00"sv,
                              "h\x01"sv,
                              "h\x02"sv,
                              "r\xff\xff\xff\xff"sv,
                              "."sv,
                              "ctorch._utils\n_rebuild_tensor_v2\n"sv,
                              "ctorch._utils\n_rebuild_parameter\n"sv,
                              "ctorch._tensor\n_rebuild_from_type_v2\n"sv,
                              "ccollections\nOrderedDict\n"sv,
                              "ctorch\nFloatStorage\n"sv,
                              "ctorch\nUntypedStorage\n"sv,
                              "c__builtin__\nlong\n"sv,
                              "cargparse\nNamespace\n"sv,
                              "ctorch\nfloat16\n"sv,
                              "ctorch\nSize\n"sv};

std::string join(const std::vector<std::string>& opcodes, size_t max) {
  std::string pickle;
  for (const std::string& opcode : opcodes) pickle += opcode;
  return pickle.substr(0, max);
}

}  // namespace

std::string mutate_pickle(const std::string& pickle, Random& random, size_t max) {
  std::vector<std::string> opcodes = split(pickle);
  if (opcodes.empty() || random() % 16 == 0) return mutate_bytes(pickle, max);
  for (size_t changes = 1 + random() % 3; changes > 0 && !opcodes.empty(); --changes) {
    const auto at = opcodes.begin() + static_cast<std::ptrdiff_t>(random() % opcodes.size());
    const std::string other = opcodes[random() % opcodes.size()];
    switch (random() % 6) {
      case 0:
        opcodes.erase(at);
        break;
      case 1:
        opcodes.insert(at, other);
        break;
      case 2:
        *at = other;
        break;
      case 3:
        opcodes.insert(at, std::string(kOpcodes[random() % kOpcodes.size()]));
        break;
      case 4: {  // a stretch many times, as a bomb has it
        const size_t length = std::min<size_t>(1 + random() % 8, opcodes.end() - at);
        const std::vector<std::string> stretch(at, at + static_cast<std::ptrdiff_t>(length));
        std::vector<std::string> many;
        for (size_t i = random() % 40; i > 0; --i) {
          many.insert(many.end(), stretch.begin(), stretch.end());
        }
        opcodes.insert(at, many.begin(), many.end());
        break;
      }
      default:
        *at = (*at)[0] + mutate_bytes(at->substr(1), at->size() + 8);
    }
  }
  return join(opcodes, max);
}

}  // namespace fakescore::fuzz
