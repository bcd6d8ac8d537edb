#include "meta/op_info.hpp"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace fakescore::detail {
namespace {

/// Composites that end in item(); the others carry the data_dependent_output tag.
bool is_known_reader(const std::string& name) {
  static const std::unordered_set<std::string> kReaders{"aten::item", "aten::_local_scalar_dense",
                                                        "aten::is_nonzero", "aten::equal",
                                                        "aten::allclose"};
  return kReaders.count(name) != 0;
}

bool leaves_memory_unset(const std::string& name) {
  static const std::unordered_set<std::string> kNames{
      "aten::empty",     "aten::empty_like", "aten::empty_strided",     "aten::empty_permuted",
      "aten::new_empty", "aten::resize_",    "aten::new_empty_strided", "aten::resize_as_",
      "aten::resize",    "aten::resize_as",  "aten::_resize_output_",   "aten::_resize_output"};
  return kNames.count(name) != 0;
}

/// What initialisers call, and no other tensor decides. Their meta kernels look at their numbers
/// and do nothing; where Python has registered its own, that takes up to a millisecond and a half.
bool changes_values_alone(const c10::FunctionSchema& schema) {
  static const std::unordered_set<std::string> kNames{
      "aten::cauchy_",  "aten::clamp_",     "aten::erfinv_",     "aten::exponential_",
      "aten::fill_",    "aten::geometric_", "aten::log_normal_", "aten::normal_",
      "aten::uniform_", "aten::zero_"};
  if (kNames.count(schema.name()) == 0) return false;
  const std::vector<c10::Argument>& arguments = schema.arguments();
  return std::none_of(arguments.begin() + 1, arguments.end(), [](const c10::Argument& argument) {
    return argument.type()->isSubtypeOf(*c10::OptionalType::ofTensor());
  });
}

bool returns_tensor(const c10::FunctionSchema& schema) {
  for (const c10::Argument& result : schema.returns()) {
    const c10::TypePtr& type = result.type();
    if (type->isSubtypeOf(*c10::TensorType::get()) || type->kind() == c10::TypeKind::ListType) {
      return true;
    }
  }
  return false;
}

OpInfo read_schema(const c10::OperatorHandle& op) {
  const c10::FunctionSchema& schema = op.schema();
  OpInfo info;
  for (size_t i = 0; i < schema.arguments().size(); ++i) {
    const c10::Argument& argument = schema.arguments()[i];
    if (argument.name() == "device") info.device = i;
    if (argument.name() == "generator") info.generator = i;
    if (argument.name() == "pin_memory") info.pin_memory = i;
    const bool writes = argument.alias_info() != nullptr && argument.alias_info()->isWrite();
    info.writes.push_back(writes);
    info.writes_any |= writes;
    info.has_out |= writes && argument.is_out();
  }
  // Nobody promises that operators outside aten tag their use of the default generator, and a seed
  // that goes unused does no harm.
  const bool foreign = schema.name().rfind("aten::", 0) != 0;
  info.random =
      info.generator.has_value() || foreign || op.hasTag(at::Tag::nondeterministic_seeded);
  info.values_alone = changes_values_alone(schema);
  info.leaves_unset = leaves_memory_unset(schema.name());
  info.dynamic_shape = op.hasTag(at::Tag::dynamic_output_shape);
  info.reads_values =
      is_known_reader(schema.name()) ||
      (op.hasTag(at::Tag::data_dependent_output) && !info.dynamic_shape && !returns_tensor(schema));
  return info;
}

}  // namespace

const OpInfo& op_info(const c10::OperatorHandle& op) {
  static thread_local std::unordered_map<const c10::FunctionSchema*, OpInfo> cache;
  const c10::FunctionSchema* schema = &op.schema();
  const auto found = cache.find(schema);
  if (found != cache.end()) return found->second;
  return cache.emplace(schema, read_schema(op)).first->second;
}

}  // namespace fakescore::detail
