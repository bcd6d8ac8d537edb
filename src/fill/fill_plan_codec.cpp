#include "fill/fill_plan_codec.hpp"

#include "error/wire.hpp"

namespace fakescore::detail {

auto wire_fields(GroupPlan::Fill& fill) { return std::tie(fill.spec, fill.teacher); }

auto wire_fields(GroupPlan& group) {
  return std::tie(group.group, group.mode, group.wire, group.fills);
}

}  // namespace fakescore::detail

namespace fakescore {

auto wire_fields(CastKey& key) { return std::tie(key.name, key.from, key.to); }

auto wire_fields(TeacherChoice& choice) { return std::tie(choice.taken, choice.passed_over); }

auto wire_fields(KeyReport& keys) {
  return std::tie(keys.missing, keys.unexpected, keys.skipped, keys.replayed, keys.cast,
                  keys.choice);
}

}  // namespace fakescore

namespace fakescore::detail {

std::string encode_plan(const FillPlan& plan, const KeyReport& keys) {
  return to_wire(plan.groups, keys);
}

std::pair<FillPlan, KeyReport> decode_plan(const std::string& bytes) {
  auto [groups, keys] = from_wire<std::vector<GroupPlan>, KeyReport>(bytes, "plan");
  return {FillPlan{std::move(groups)}, std::move(keys)};
}

}  // namespace fakescore::detail
