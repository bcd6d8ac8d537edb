#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string>
#include <unordered_set>

#include "meta/guard_state.hpp"
#include "meta/op_info.hpp"
#include "meta/tape.hpp"

namespace fakescore::detail {

/// One call of one op under a guard that has a tape: decides whether it runs on real tensors, runs
/// on meta tensors and is recorded, or needs values at once.
class Recorder {
 public:
  Recorder(const c10::OperatorHandle& op, InitTape& tape, Stack& stack);
  void run();

 private:
  c10::IValue& argument(size_t index) { return stack_argument(stack_, count_, index); }
  c10::IValue generator_argument();
  [[noreturn]] void refuse_op(std::string message, std::string remedy) const;

  void classify_arguments();
  void check_supported();
  bool runs_as_called();

  void call_real(Stack& stack);
  void put_values(Stack& stack);

  void record();
  Entry make_entry();
  at::Tensor remember_real(const at::Tensor& tensor, Entry& entry);
  RandomDraw note_draw(const Entry& entry);
  size_t current_segment(const at::Generator& generator);

  std::optional<std::string> call_by_its_numbers();
  void call_on_meta(const Stack& as_called);
  void call_without_meta_kernel(const Stack& as_called, size_t base);
  void put_meta_arguments();
  at::Tensor stand_in(const at::Tensor& real);
  void learn_geometry(const Stack& as_called);
  void return_written_arguments(const Stack& as_called);
  void check_written_arguments(const Stack& as_called);
  bool note_results(Entry& entry);

  const c10::OperatorHandle& op_;
  const std::string& name_;
  const OpInfo& info_;
  InitTape& tape_;
  InitTape::Impl& impl_;
  Stack& stack_;
  const size_t count_;  ///< of arguments
  bool has_meta_ = false;
  bool has_real_ = false;
  bool writes_real_ = false;
  bool writes_meta_ = false;
  std::unordered_set<StorageImpl*> stand_ins_;
};

}  // namespace fakescore::detail
