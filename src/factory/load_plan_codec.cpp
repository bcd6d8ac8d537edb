#include <nlohmann/json.hpp>

#include "factory/load_plan.hpp"

namespace fakescore::detail {

using nlohmann::json;

std::string LoadPlan::serialize() const {
  json moves = json::array();
  for (const GroupPlan& group : groups) {
    json fills = json::array();
    for (const auto& fill : group.fills) fills.push_back({fill.spec, fill.teacher});
    moves.push_back({group.group, static_cast<int>(group.mode), static_cast<int>(group.wire),
                     std::move(fills)});
  }
  json casts = json::array();
  for (const CastKey& key : cast) {
    casts.push_back({key.name, static_cast<int>(key.from), static_cast<int>(key.to)});
  }
  std::string bytes;
  json::to_msgpack(json::array({std::move(moves), missing, unexpected, replayed, std::move(casts),
                                choice.taken, choice.passed_over}),
                   bytes);
  return bytes;
}

LoadPlan LoadPlan::deserialize(const std::string& bytes) {
  const json content = json::from_msgpack(bytes);
  LoadPlan plan;
  for (const json& move : content.at(0)) {
    GroupPlan group{move.at(0).get<int64_t>(),
                    static_cast<FillMode>(move.at(1).get<int>()),
                    static_cast<at::ScalarType>(move.at(2).get<int>()),
                    {}};
    for (const json& fill : move.at(3)) {
      group.fills.push_back({fill.at(0).get<size_t>(), fill.at(1).get<size_t>()});
    }
    plan.groups.push_back(std::move(group));
  }
  plan.missing = content.at(1).get<std::vector<std::string>>();
  plan.unexpected = content.at(2).get<std::vector<std::string>>();
  plan.replayed = content.at(3).get<std::vector<std::string>>();
  for (const json& key : content.at(4)) {
    plan.cast.push_back({key.at(0).get<std::string>(),
                         static_cast<at::ScalarType>(key.at(1).get<int>()),
                         static_cast<at::ScalarType>(key.at(2).get<int>())});
  }
  plan.choice.taken = content.at(5).get<std::string>();
  plan.choice.passed_over = content.at(6).get<std::vector<std::string>>();
  return plan;
}

}  // namespace fakescore::detail
