#include "teacher/formats/pickle/pickle_machine.hpp"

#include <bit>
#include <cstring>
#include <utility>

#include "teacher/formats/pickle/pickle_nesting.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kStacks = "stacks more than its pickle describes";

std::string name_of(PickleOpcode opcode) {
  constexpr const char* kDigits = "0123456789abcdef";
  const auto code = static_cast<uint8_t>(opcode);
  return std::string("0x") + kDigits[code / 16] + kDigits[code % 16];
}

/// Two's complement, little-endian, of any length: 64 bits where that is enough.
PickleValue integer_of(std::string_view bytes) {
  const auto says_nothing = [](char high, char low) {
    return (high == '\x00' && (low & 0x80) == 0) || (high == '\xff' && (low & 0x80) != 0);
  };
  while (bytes.size() > sizeof(int64_t) && says_nothing(bytes.back(), bytes[bytes.size() - 2])) {
    bytes.remove_suffix(1);
  }
  if (bytes.size() > sizeof(int64_t)) return PickleValue::long_integer(bytes);
  uint64_t value = !bytes.empty() && (bytes.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
  std::memcpy(&value, bytes.data(), bytes.size());
  return PickleValue(static_cast<int64_t>(value));
}

}  // namespace

Pickle PickleMachine::run() {
  begin();
  while (true) {
    budget_.charge_work(1, "has more opcodes than bytes");
    const auto opcode = static_cast<PickleOpcode>(in_.number(1));
    if (opcode == PickleOpcode::kStop) break;
    const bool known = push_number(opcode) || push_text(opcode) || begin_container(opcode) ||
                       fill_container(opcode) || make_tuple(opcode) || describe_object(opcode) ||
                       arrange_stack(opcode) || use_memo(opcode);
    if (!known) in_.fail("has the opcode " + name_of(opcode) + ", which no state dict needs");
  }
  result_.root = pop();
  if (!stack_.empty() || !marks_.empty()) in_.fail("ends with values left over");
  if (const auto fault = find_nesting_fault(result_.root, arena().nodes(), budget_)) {
    in_.fail(*fault);
  }
  return std::move(result_);
}

void PickleMachine::begin() {
  const auto opcode = static_cast<PickleOpcode>(in_.number(1));
  const uint64_t protocol = opcode == PickleOpcode::kProto ? in_.number(1) : 0;
  if (protocol < 2 || protocol > 5) in_.fail("is not a pickle, or not of a protocol from 2 to 5");
}

bool PickleMachine::push_number(PickleOpcode opcode) {
  const auto push_integer = [&](uint64_t value) { push(PickleValue(static_cast<int64_t>(value))); };
  switch (opcode) {
    case PickleOpcode::kNone:
      push({});
      return true;
    case PickleOpcode::kNewTrue:
      push(PickleValue(true));
      return true;
    case PickleOpcode::kNewFalse:
      push(PickleValue(false));
      return true;
    case PickleOpcode::kBinInt1:
      push_integer(in_.number(1));
      return true;
    case PickleOpcode::kBinInt2:
      push_integer(in_.number(2));
      return true;
    case PickleOpcode::kBinInt:
      push(PickleValue(static_cast<int64_t>(static_cast<int32_t>(in_.number(4)))));
      return true;
    case PickleOpcode::kLong1:
      push(integer_of(in_.text(in_.number(1))));
      return true;
    case PickleOpcode::kLong4:
      push(integer_of(in_.text(in_.number(4))));
      return true;
    case PickleOpcode::kBinFloat:  // the one big-endian number
      push(PickleValue(std::bit_cast<double>(__builtin_bswap64(in_.number(8)))));
      return true;
    default:
      return false;
  }
}

bool PickleMachine::push_text(PickleOpcode opcode) {
  const auto text = [&](size_t width) { return in_.text(in_.number(width)); };
  switch (opcode) {
    case PickleOpcode::kShortBinUnicode:
    case PickleOpcode::kShortBinString:
      push(PickleValue::text(text(1)));
      return true;
    case PickleOpcode::kBinUnicode:
    case PickleOpcode::kBinString:
      push(PickleValue::text(text(4)));
      return true;
    case PickleOpcode::kBinUnicode8:
      push(PickleValue::text(text(8)));
      return true;
    case PickleOpcode::kShortBinBytes:
      push(PickleValue::bytes(text(1)));
      return true;
    case PickleOpcode::kBinBytes:
      push(PickleValue::bytes(text(4)));
      return true;
    case PickleOpcode::kBinBytes8:
    case PickleOpcode::kByteArray8:
      push(PickleValue::bytes(text(8)));
      return true;
    default:
      return false;
  }
}

bool PickleMachine::begin_container(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kEmptyList:
      push(PickleValue::list(sequence_of(0)));
      return true;
    case PickleOpcode::kEmptySet:
      push(PickleValue::set(sequence_of(0)));
      return true;
    case PickleOpcode::kEmptyDict:
      push(PickleValue(dict_of(0)));
      return true;
    case PickleOpcode::kList:
      push(PickleValue::list(sequence_of(take_mark())));
      return true;
    case PickleOpcode::kFrozenSet:
      push(PickleValue::set(sequence_of(take_mark())));
      return true;
    case PickleOpcode::kDict:
      push(PickleValue(dict_of(take_mark())));
      return true;
    default:
      return false;
  }
}

bool PickleMachine::make_tuple(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kEmptyTuple:
      push(PickleValue::tuple(sequence_of(0)));
      return true;
    case PickleOpcode::kTuple1:
      push(PickleValue::tuple(sequence_of(1)));
      return true;
    case PickleOpcode::kTuple2:
      push(PickleValue::tuple(sequence_of(2)));
      return true;
    case PickleOpcode::kTuple3:
      push(PickleValue::tuple(sequence_of(3)));
      return true;
    case PickleOpcode::kTuple:
      push(PickleValue::tuple(sequence_of(take_mark())));
      return true;
    default:
      return false;
  }
}

bool PickleMachine::fill_container(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kAppend:
      append(1);
      return true;
    case PickleOpcode::kAppends:
    case PickleOpcode::kAddItems:
      append(take_mark());
      return true;
    case PickleOpcode::kSetItem:
      set_items(2);
      return true;
    case PickleOpcode::kSetItems:
      set_items(take_mark());
      return true;
    default:
      return false;
  }
}

bool PickleMachine::describe_object(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kGlobal: {
      const std::string_view module = in_.line();
      push_global(module, in_.line());
      return true;
    }
    case PickleOpcode::kStackGlobal: {
      const std::string_view name = pop_text("a global's name");
      push_global(pop_text("a global's module"), name);
      return true;
    }
    case PickleOpcode::kReduce:
      call(false, false);
      return true;
    case PickleOpcode::kNewObj:
      call(true, false);
      return true;
    case PickleOpcode::kNewObjEx:
      call(true, true);
      return true;
    case PickleOpcode::kBuild:
      build();
      return true;
    case PickleOpcode::kBinPersId:
      push_persistent_id();
      return true;
    default:
      return false;
  }
}

bool PickleMachine::arrange_stack(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kMark:
      budget_.charge_memory(3 * sizeof(uint32_t), kStacks);
      marks_.push_back(static_cast<uint32_t>(stack_.size()));
      return true;
    case PickleOpcode::kPop:
      // As in Python: a mark that lies on top is what goes.
      if (!marks_.empty() && marks_.back() == stack_.size()) {
        marks_.pop_back();
      } else {
        pop();
      }
      return true;
    case PickleOpcode::kPopMark:
      drop(take_mark());
      return true;
    case PickleOpcode::kDup:
      push(top());
      return true;
    case PickleOpcode::kFrame:
      in_.number(8);
      return true;  // a hint for readers of streams
    default:
      return false;
  }
}

bool PickleMachine::use_memo(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kBinPut:
      memo_.put(in_.number(1), top());
      return true;
    case PickleOpcode::kLongBinPut:
      memo_.put(in_.number(4), top());
      return true;
    case PickleOpcode::kMemoize:
      memo_.put(memo_.size(), top());
      return true;
    case PickleOpcode::kBinGet:
      recall(in_.number(1));
      return true;
    case PickleOpcode::kLongBinGet:
      recall(in_.number(4));
      return true;
    default:
      return false;
  }
}

void PickleMachine::recall(uint64_t place) {
  const PickleValue* found = memo_.find(place);
  if (found == nullptr) in_.fail("uses a value that it did not store: " + std::to_string(place));
  push(*found);
}

void PickleMachine::push(const PickleValue& value) {
  if (stack_.size() == highest_) {
    budget_.charge_memory(sizeof(PickleValue), kStacks);
    ++highest_;
  }
  stack_.push_back(value);
}

PickleValue& PickleMachine::top() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) in_.fail("takes from an empty stack");
  return stack_.back();
}

PickleValue PickleMachine::pop() {
  const PickleValue value = top();
  stack_.pop_back();
  return value;
}

std::string_view PickleMachine::pop_text(const char* what) {
  const auto text = pop().text();
  if (!text) in_.fail(std::string("has something else where ") + what + " should be");
  return *text;
}

size_t PickleMachine::take_mark() {
  if (marks_.empty()) in_.fail("has no mark where one is needed");
  const size_t count = stack_.size() - marks_.back();
  marks_.pop_back();
  return count;
}

}  // namespace fakescore::detail
