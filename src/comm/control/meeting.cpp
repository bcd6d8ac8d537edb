#include "comm/control/meeting.hpp"

#include <nlohmann/json.hpp>
#include <utility>

namespace fakescore::detail {
namespace {

using nlohmann::json;

std::string to_bytes(const json& value) {
  std::string bytes;
  json::to_msgpack(value, bytes);
  return bytes;
}

Comparison compare_messages(const std::vector<std::string>& messages) {
  for (size_t rank = 1; rank < messages.size(); ++rank) {
    if (messages[rank] != messages[0]) {
      return {messages[0], static_cast<int>(rank), messages[rank]};
    }
  }
  return {messages[0], -1, ""};
}

}  // namespace

std::string combine(const Step& step, std::vector<std::string> messages) {
  if (step.kind == CallKind::kBroadcastMessage) {
    return std::move(messages[static_cast<size_t>(step.root)]);
  }
  if (step.kind == CallKind::kAllGather) return to_bytes(json(messages));
  const Comparison found = compare_messages(messages);
  return to_bytes(json::array({found.of_rank_0, found.other_rank, found.of_other_rank}));
}

std::vector<std::string> read_all_gathered(const std::string& combined) {
  return json::from_msgpack(combined).get<std::vector<std::string>>();
}

Comparison read_comparison(const std::string& combined) {
  const json fields = json::from_msgpack(combined);
  return {fields.at(0).get<std::string>(), fields.at(1).get<int>(),
          fields.at(2).get<std::string>()};
}

}  // namespace fakescore::detail
