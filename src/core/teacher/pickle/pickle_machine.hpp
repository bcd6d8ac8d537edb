#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/teacher/pickle/pickle_arena.hpp"
#include "core/teacher/pickle/pickle_input.hpp"
#include "core/teacher/pickle/pickle_opcode.hpp"
#include "core/teacher/pickle/read_pickle.hpp"

namespace fakescore::detail {

/// The stack machine that a pickle is a program of: it builds data and nothing else.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> pickle, const AllowsGlobal& allows,
                const std::filesystem::path& file)
      : in_(pickle, file),
        allows_(allows),
        copies_left_(kCopiesPerByte * pickle.size() + kCopies) {}

  PickleValue run();

 private:
  // A text is copied whenever the memo gives it again: a few bytes of pickle for each.
  static constexpr size_t kCopiesPerByte = 64;
  static constexpr size_t kCopies = 1 << 20;

  void begin();
  /// Each does one opcode of its kind; false for one of another kind.
  bool push_number(PickleOpcode opcode);
  bool push_text(PickleOpcode opcode);
  bool begin_container(PickleOpcode opcode);
  bool fill_container(PickleOpcode opcode);
  bool make_tuple(PickleOpcode opcode);
  bool describe_object(PickleOpcode opcode);
  bool arrange_stack(PickleOpcode opcode);
  bool use_memo(PickleOpcode opcode);

  PickleValue long_number(uint64_t bytes);
  void push_global(std::string name);
  void reduce(PickleItems arguments);
  void build();
  void append(PickleItems added);
  void set_items(PickleItems added);
  PicklePairs pairs_of(PickleItems added);
  template <typename Expected>
  Expected pop_as(const char* what);
  PickleItems items_of_tuple(const char* what);

  void push(PickleValue value) { stack_.push_back(std::move(value)); }
  template <typename T>
  void push_as(T value) {
    push(PickleValue{std::move(value)});
  }
  PickleValue pop();
  PickleValue& top();
  PickleItems pop_to_mark();
  void remember(uint64_t index);
  void recall(uint64_t index);
  PickleValue copy(const PickleValue& value);

  PickleInput in_;
  const AllowsGlobal& allows_;
  size_t copies_left_;
  PickleArena arena_;
  std::vector<PickleValue> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleValue> memo_;
};

}  // namespace fakescore::detail
