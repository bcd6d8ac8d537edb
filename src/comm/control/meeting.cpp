#include "comm/control/meeting.hpp"

#include <utility>

#include "error/wire.hpp"

namespace fakescore {

auto wire_fields(Comparison& found) {
  return std::tie(found.of_rank_0, found.other_rank, found.of_other_rank);
}

}  // namespace fakescore

namespace fakescore::detail {
namespace {

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
  if (step.kind == CallKind::kAllGather) return to_wire(messages);
  return to_wire(compare_messages(messages));
}

std::vector<std::string> read_all_gathered(const std::string& combined) {
  return std::get<0>(from_wire<std::vector<std::string>>(combined, "gathered messages"));
}

Comparison read_comparison(const std::string& combined) {
  return std::get<0>(from_wire<Comparison>(combined, "comparison"));
}

}  // namespace fakescore::detail
