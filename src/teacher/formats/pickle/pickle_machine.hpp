#pragma once

#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "teacher/formats/pickle/pickle_arena.hpp"
#include "teacher/formats/pickle/pickle_input.hpp"
#include "teacher/formats/pickle/pickle_memo.hpp"
#include "teacher/formats/pickle/pickle_opcode.hpp"
#include "teacher/formats/pickle/read_pickle.hpp"

namespace fakescore::detail {

/// The stack machine that a pickle is a program of: it builds data and nothing else.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> pickle, const KnowsGlobal& knows, ForeignGlobals foreign,
                ReadBudget& budget)
      : in_(pickle, budget.file()),
        knows_(knows),
        foreign_(foreign),
        budget_(budget),
        memo_(budget) {
    result_.arena = std::make_unique<PickleArena>(budget);
  }

  Pickle run();

 private:
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

  void push_global(std::string_view module, std::string_view name);
  void call(bool is_new, bool has_named);
  void build();
  void push_persistent_id();
  void append(size_t count);
  void set_items(size_t count);
  PickleSequence& sequence_of(size_t count);
  PickleDict& dict_of(size_t count);
  void append_items(PickleItems& items, size_t count);
  void append_pairs(PicklePairs& pairs, size_t count);
  void check_height(size_t count) const;

  PickleArena& arena() { return *result_.arena; }
  uint32_t now() const noexcept { return static_cast<uint32_t>(in_.position()); }
  void push(const PickleValue& value);
  PickleValue pop();
  std::string_view pop_text(const char* what);
  PickleValue& top();
  /// How many values lie above the last mark, which goes.
  size_t take_mark();
  /// The value that lies below `above` others.
  const PickleValue& below(size_t above) const { return stack_[stack_.size() - 1 - above]; }
  void drop(size_t count) {
    stack_.erase(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
  }
  void recall(uint64_t place);

  /// To look up whether a global is known.
  static constexpr uint64_t kGlobalSteps = 64;

  PickleInput in_;
  const KnowsGlobal& knows_;
  ForeignGlobals foreign_;
  ReadBudget& budget_;
  Pickle result_;
  std::deque<PickleValue> stack_;
  size_t highest_ = 0;  ///< what the stack had at most, which is charged
  std::vector<uint32_t> marks_;
  PickleMemo memo_;
};

}  // namespace fakescore::detail
