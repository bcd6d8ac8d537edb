// What the opcodes of PickleMachine make of the values on its stack.

#include <algorithm>
#include <string>

#include "teacher/formats/pickle/pickle_machine.hpp"

namespace fakescore::detail {

/// There must be as many values above the last mark.
void PickleMachine::check_height(size_t count) const {
  const size_t floor = marks_.empty() ? 0 : marks_.back();
  if (count > stack_.size() - floor) in_.fail("takes from an empty stack");
}

PickleSequence& PickleMachine::sequence_of(size_t count) {
  check_height(count);
  auto& sequence = arena().make_node<PickleSequence>();
  append_items(sequence.items, count);
  sequence.changed_at = now();
  return sequence;
}

PickleDict& PickleMachine::dict_of(size_t count) {
  auto& dict = arena().make_node<PickleDict>();
  append_pairs(dict.pairs, count);
  dict.changed_at = now();
  return dict;
}

/// The last values of the stack, which go.
void PickleMachine::append_items(PickleItems& items, size_t count) {
  arena().reserve(items, items.size() + count);
  for (size_t i = count; i > 0; --i) arena().append(items, below(i - 1));
  drop(count);
}

void PickleMachine::append_pairs(PicklePairs& pairs, size_t count) {
  if (count % 2 != 0) in_.fail("has a key without a value");
  arena().reserve(pairs, pairs.size() + count / 2);
  for (size_t i = count; i > 0; i -= 2) arena().append(pairs, {below(i - 1), below(i - 2)});
  drop(count);
}

void PickleMachine::append(size_t count) {
  check_height(count + 1);
  const PickleValue target = below(count);
  if (target.list() != nullptr || target.set() != nullptr) {
    append_items(target.sequence_node()->items, count);
    target.sequence_node()->changed_at = now();
  } else if (auto* object = target.object_node()) {
    append_items(object->items, count);
    object->changed_at = now();
  } else {
    in_.fail("appends to something that is not a list");
  }
}

void PickleMachine::set_items(size_t count) {
  check_height(count + 1);
  const PickleValue target = below(count);
  if (auto* dict = target.dict_node()) {
    append_pairs(dict->pairs, count);
    dict->changed_at = now();
  } else if (auto* object = target.object_node()) {
    append_pairs(object->pairs, count);
    object->changed_at = now();
  } else {
    in_.fail("sets items of something that is not a dict");
  }
}

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  char* const text = arena().make_text(module.size() + 1 + name.size());
  char* end = std::copy(module.begin(), module.end(), text);
  *end++ = '.';
  end = std::copy(name.begin(), name.end(), end);
  auto& global = arena().make<PickleGlobal>();
  global.name = {text, static_cast<size_t>(end - text)};
  budget_.charge_work(kGlobalSteps, "names more globals than its pickle describes");
  global.is_foreign = !knows_(global.name);
  if (global.is_foreign) {
    const ForeignGlobal foreign{global.name, in_.position()};
    if (foreign_ == ForeignGlobals::kRefuse) refuse_foreign_global(foreign, budget_);
    if (!result_.foreign) result_.foreign = foreign;
  }
  push(PickleValue(global));
}

/// Of a global; or of an inert object, which may be callable.
void PickleMachine::call(bool is_new, bool has_named) {
  const PickleValue named = has_named ? pop() : PickleValue();
  if (has_named && named.dict() == nullptr) in_.fail("gives named arguments that are not a dict");
  const PickleValue arguments = pop();
  if (arguments.tuple() == nullptr) {
    in_.fail("has something else where a call's arguments should be");
  }
  const PickleValue callable = pop();
  const PickleGlobal* global = callable.global();
  const PickleObject* maker = callable.object();
  if (global == nullptr && (maker == nullptr || !maker->is_inert)) {
    in_.fail("has something else where what is called should be");
  }
  auto& object = arena().make_node<PickleObject>();
  object.callable = global != nullptr ? global->name : maker->callable;
  object.is_inert = global == nullptr || global->is_foreign;
  object.is_new = is_new;
  object.arguments = *arguments.tuple();
  if (has_named && !named.dict()->empty()) {
    object.arguments.capacity = 0;  // it is the tuple's: what is added goes elsewhere
    arena().append(object.arguments, named);
  }
  object.made_at = object.changed_at = now();
  if (!object.is_inert) {
    budget_.charge_memory(sizeof(&object), "calls more than its pickle describes");
    result_.objects.push_back(&object);
  }
  push(PickleValue(object));
}

void PickleMachine::build() {
  const PickleValue state = pop();
  auto* const target = top().object_node();
  if (target == nullptr) in_.fail("gives a state to something that is not an object");
  target->state = state;
  target->is_built = true;
  target->changed_at = now();
}

void PickleMachine::push_persistent_id() {
  auto& id = arena().make_node<PickleSequence>();
  id.changed_at = now();
  arena().append(id.items, pop());
  const PickleValue value = PickleValue::persistent_id(id);
  budget_.charge_memory(sizeof(PickleValue), "names more storages than its pickle describes");
  result_.persistent_ids.push_back(value);
  push(value);
}

}  // namespace fakescore::detail
