#include "core/teacher/pickle/pickle_machine.hpp"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "core/teacher/file_text.hpp"

namespace fakescore::detail {
namespace {

std::string name_of(PickleOpcode opcode) {
  constexpr const char* kDigits = "0123456789abcdef";
  const auto code = static_cast<uint8_t>(opcode);
  return std::string("0x") + kDigits[code / 16] + kDigits[code % 16];
}

size_t text_bytes(const PickleValue& value) {
  if (const auto* text = value.as<std::string>()) return text->size();
  if (const auto* bytes = value.as<PickleBytes>()) return bytes->bytes.size();
  if (const auto* global = value.as<PickleGlobal>()) return global->name.size();
  return 0;
}

}  // namespace

PickleValue PickleMachine::run() {
  begin();
  while (true) {
    const auto opcode = static_cast<PickleOpcode>(in_.number(1));
    if (opcode == PickleOpcode::kStop) break;
    const bool known = push_number(opcode) || push_text(opcode) || begin_container(opcode) ||
                       fill_container(opcode) || make_tuple(opcode) || describe_object(opcode) ||
                       arrange_stack(opcode) || use_memo(opcode);
    if (!known) in_.fail("has the opcode " + name_of(opcode) + ", which no state dict needs");
  }
  PickleValue result = pop();
  if (!stack_.empty() || !marks_.empty()) in_.fail("ends with values left over");
  if (const auto fault = arena_.release()) in_.fail(*fault);
  return result;
}

void PickleMachine::begin() {
  const auto opcode = static_cast<PickleOpcode>(in_.number(1));
  const uint64_t protocol = opcode == PickleOpcode::kProto ? in_.number(1) : 0;
  if (protocol < 2 || protocol > 5) in_.fail("is not a pickle, or not of a protocol from 2 to 5");
}

bool PickleMachine::push_number(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kNone:
      push({});
      return true;
    case PickleOpcode::kNewTrue:
      push_as(true);
      return true;
    case PickleOpcode::kNewFalse:
      push_as(false);
      return true;
    case PickleOpcode::kBinInt1:
      push_as(static_cast<int64_t>(in_.number(1)));
      return true;
    case PickleOpcode::kBinInt2:
      push_as(static_cast<int64_t>(in_.number(2)));
      return true;
    case PickleOpcode::kBinInt:
      push_as(static_cast<int64_t>(static_cast<int32_t>(in_.number(4))));
      return true;
    case PickleOpcode::kLong1:
      push(long_number(in_.number(1)));
      return true;
    case PickleOpcode::kLong4:
      push(long_number(in_.number(4)));
      return true;
    case PickleOpcode::kBinFloat:  // the one big-endian number
      push_as(std::bit_cast<double>(__builtin_bswap64(in_.number(8))));
      return true;
    default:
      return false;
  }
}

/// Two's complement, little-endian; longer than 64 bits it is an object "int" of its bytes.
PickleValue PickleMachine::long_number(uint64_t bytes) {
  const std::string_view text = in_.text(bytes);
  if (text.size() > sizeof(int64_t)) {
    const PickleValue digits{PickleBytes{std::string(text)}};
    return {PickleReduced{arena_.make_object({"int", {digits}, {}, {}, {}})}};
  }
  uint64_t value = !text.empty() && (text.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
  std::memcpy(&value, text.data(), text.size());
  return {static_cast<int64_t>(value)};
}

bool PickleMachine::push_text(PickleOpcode opcode) {
  const auto text = [&](size_t width) { return std::string(in_.text(in_.number(width))); };
  switch (opcode) {
    case PickleOpcode::kShortBinUnicode:
    case PickleOpcode::kShortBinString:
      push_as(text(1));
      return true;
    case PickleOpcode::kBinUnicode:
    case PickleOpcode::kBinString:
      push_as(text(4));
      return true;
    case PickleOpcode::kBinUnicode8:
      push_as(text(8));
      return true;
    case PickleOpcode::kShortBinBytes:
      push_as(PickleBytes{text(1)});
      return true;
    case PickleOpcode::kBinBytes:
      push_as(PickleBytes{text(4)});
      return true;
    case PickleOpcode::kBinBytes8:
    case PickleOpcode::kByteArray8:
      push_as(PickleBytes{text(8)});
      return true;
    default:
      return false;
  }
}

bool PickleMachine::begin_container(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kEmptyList:
      push_as(PickleList{arena_.make_items()});
      return true;
    case PickleOpcode::kEmptySet:
      push_as(PickleSet{arena_.make_items()});
      return true;
    case PickleOpcode::kEmptyDict:
      push_as(PickleDict{arena_.make_pairs()});
      return true;
    case PickleOpcode::kList:
      push_as(PickleList{arena_.make_items(pop_to_mark())});
      return true;
    case PickleOpcode::kFrozenSet:
      push_as(PickleSet{arena_.make_items(pop_to_mark())});
      return true;
    case PickleOpcode::kDict:
      push_as(PickleDict{arena_.make_pairs(pairs_of(pop_to_mark()))});
      return true;
    default:
      return false;
  }
}

bool PickleMachine::make_tuple(PickleOpcode opcode) {
  size_t length = 0;
  switch (opcode) {
    case PickleOpcode::kTuple:
      push_as(PickleTuple{arena_.make_items(pop_to_mark())});
      return true;
    case PickleOpcode::kEmptyTuple:
      break;
    case PickleOpcode::kTuple1:
      length = 1;
      break;
    case PickleOpcode::kTuple2:
      length = 2;
      break;
    case PickleOpcode::kTuple3:
      length = 3;
      break;
    default:
      return false;
  }
  PickleItems items(length);
  for (size_t i = length; i > 0; --i) items[i - 1] = pop();
  push_as(PickleTuple{arena_.make_items(std::move(items))});
  return true;
}

bool PickleMachine::fill_container(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kAppend: {
      PickleItems one;
      one.push_back(pop());
      append(std::move(one));
      return true;
    }
    case PickleOpcode::kAppends:
    case PickleOpcode::kAddItems:
      append(pop_to_mark());
      return true;
    case PickleOpcode::kSetItem: {
      PickleItems pair(2);
      pair[1] = pop();
      pair[0] = pop();
      set_items(std::move(pair));
      return true;
    }
    case PickleOpcode::kSetItems:
      set_items(pop_to_mark());
      return true;
    default:
      return false;
  }
}

void PickleMachine::append(PickleItems added) {
  const PickleValue& target = top();
  PickleItems* items = nullptr;
  if (const auto* list = target.as<PickleList>()) items = list->items.get();
  if (const auto* set = target.as<PickleSet>()) items = set->items.get();
  if (const auto* reduced = target.as<PickleReduced>()) items = &reduced->object->items;
  if (items == nullptr) in_.fail("appends to what is no list");
  std::move(added.begin(), added.end(), std::back_inserter(*items));
}

void PickleMachine::set_items(PickleItems added) {
  const PickleValue& target = top();
  PicklePairs* pairs = nullptr;
  if (const auto* dict = target.as<PickleDict>()) pairs = dict->pairs.get();
  if (const auto* reduced = target.as<PickleReduced>()) pairs = &reduced->object->pairs;
  if (pairs == nullptr) in_.fail("sets items of what is no dict");
  PicklePairs added_pairs = pairs_of(std::move(added));
  std::move(added_pairs.begin(), added_pairs.end(), std::back_inserter(*pairs));
}

PicklePairs PickleMachine::pairs_of(PickleItems added) {
  if (added.size() % 2 != 0) in_.fail("has a key without a value");
  PicklePairs pairs;
  pairs.reserve(added.size() / 2);
  for (size_t i = 0; i < added.size(); i += 2) {
    pairs.emplace_back(std::move(added[i]), std::move(added[i + 1]));
  }
  return pairs;
}

bool PickleMachine::describe_object(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kGlobal: {
      const std::string module(in_.line());
      push_global(module + "." + std::string(in_.line()));
      return true;
    }
    case PickleOpcode::kStackGlobal: {
      const auto name = pop_as<std::string>("a global's name");
      push_global(pop_as<std::string>("a global's module") + "." + name);
      return true;
    }
    case PickleOpcode::kReduce:
    case PickleOpcode::kNewObj:
      reduce(items_of_tuple("a call's arguments"));
      return true;
    case PickleOpcode::kNewObjEx: {
      const PickleValue named = pop();
      PickleItems arguments = items_of_tuple("a call's arguments");
      if (named.as<PickleDict>() == nullptr) in_.fail("gives named arguments that are no dict");
      if (!named.as<PickleDict>()->pairs->empty()) arguments.push_back(named);
      reduce(std::move(arguments));
      return true;
    }
    case PickleOpcode::kBuild:
      build();
      return true;
    case PickleOpcode::kBinPersId:
      push_as(PicklePersistentId{arena_.make_value(pop())});
      return true;
    default:
      return false;
  }
}

void PickleMachine::push_global(std::string name) {
  if (!allows_(name)) {
    in_.fail("names " + shown(name) + ", which is neither a tensor nor a plain container",
             "save the tensors alone: torch.save(model.state_dict(), path)");
  }
  push_as(PickleGlobal{std::move(name)});
}

void PickleMachine::reduce(PickleItems arguments) {
  auto callable = pop_as<PickleGlobal>("what is called");
  push_as(PickleReduced{
      arena_.make_object({std::move(callable.name), std::move(arguments), {}, {}, {}})});
}

void PickleMachine::build() {
  PickleValue state = pop();
  const auto* target = top().as<PickleReduced>();
  if (target == nullptr) in_.fail("gives a state to what is no object");
  target->object->state = std::move(state);
}

template <typename Expected>
Expected PickleMachine::pop_as(const char* what) {
  PickleValue value = pop();
  auto* expected = std::get_if<Expected>(&value.value);
  if (expected == nullptr) in_.fail(std::string("has something else where ") + what + " should be");
  return std::move(*expected);
}

/// A copy, since the memo may hold the tuple.
PickleItems PickleMachine::items_of_tuple(const char* what) {
  const auto tuple = pop_as<PickleTuple>(what);
  PickleItems items;
  items.reserve(tuple.items->size());
  for (const PickleValue& item : *tuple.items) items.push_back(copy(item));
  return items;
}

bool PickleMachine::arrange_stack(PickleOpcode opcode) {
  switch (opcode) {
    case PickleOpcode::kMark:
      marks_.push_back(stack_.size());
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
      pop_to_mark();
      return true;
    case PickleOpcode::kDup:
      push(copy(top()));
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
      remember(in_.number(1));
      return true;
    case PickleOpcode::kLongBinPut:
      remember(in_.number(4));
      return true;
    case PickleOpcode::kMemoize:
      remember(memo_.size());
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

void PickleMachine::remember(uint64_t index) { memo_[index] = copy(top()); }

void PickleMachine::recall(uint64_t index) {
  const auto found = memo_.find(index);
  if (found == memo_.end()) in_.fail("uses what it did not store: " + std::to_string(index));
  push(copy(found->second));
}

/// Containers are shared; texts are copied, which must not outgrow the pickle without bound.
PickleValue PickleMachine::copy(const PickleValue& value) {
  const size_t bytes = sizeof(PickleValue) + text_bytes(value);
  if (bytes > copies_left_) in_.fail("repeats its texts too often to be a state dict");
  copies_left_ -= bytes;
  return value;
}

PickleValue& PickleMachine::top() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) in_.fail("takes from an empty stack");
  return stack_.back();
}

PickleValue PickleMachine::pop() {
  PickleValue value = std::move(top());
  stack_.pop_back();
  return value;
}

PickleItems PickleMachine::pop_to_mark() {
  if (marks_.empty()) in_.fail("has no mark where one is needed");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  PickleItems items(std::make_move_iterator(begin), std::make_move_iterator(stack_.end()));
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

}  // namespace fakescore::detail
