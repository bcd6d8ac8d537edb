#include "comm/control/step.hpp"

#include <sstream>

#include "comm/control/step_json.hpp"

namespace fakescore::detail {

using nlohmann::json;

std::string describe(const Step& step) {
  std::ostringstream text;
  switch (step.kind) {
    case CallKind::kAllGather:
      text << "all_gather \"" << step.what << '"';
      break;
    case CallKind::kBroadcastMessage:
      text << "broadcast_message \"" << step.what << "\" from rank " << step.root;
      break;
    case CallKind::kBroadcast:
      text << "broadcast \"" << step.what << "\" of " << step.bytes << " bytes from rank "
           << step.root;
      break;
    case CallKind::kFailure:
      text << step.what;
      break;
    case CallKind::kCompare:
      text << "compare \"" << step.what << '"';
      break;
  }
  return text.str();
}

json to_json(const Step& step) {
  return json::array({static_cast<int>(step.kind), step.root, step.bytes, step.what});
}

std::optional<Step> step_from(const json& fields) {
  const int kind = fields.at(0).get<int>();
  if (kind < 0 || kind > static_cast<int>(CallKind::kCompare)) return std::nullopt;
  return Step{static_cast<CallKind>(kind), fields.at(1).get<int>(), fields.at(2).get<int64_t>(),
              fields.at(3).get<std::string>()};
}

std::string encode_step(const Step& step) {
  std::string bytes;
  json::to_msgpack(to_json(step), bytes);
  return bytes;
}

std::optional<Step> decode_step(const std::string& bytes) {
  try {
    return step_from(json::from_msgpack(bytes));
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

ErrorInfo different_steps(int first_rank, const Step& first, int second_rank, const Step& second,
                          const std::string& backend) {
  std::ostringstream message;
  message << "ranks called different steps over " << backend << ": rank " << first_rank
          << " called " << describe(first) << ", rank " << second_rank << " called "
          << describe(second);
  return {ErrorCode::kPeerLost, -1, "", first.what, message.str(), kStepsRemedy};
}

}  // namespace fakescore::detail
