#include "comm/control/step.hpp"

#include <sstream>
#include <utility>

#include "comm/control/step_wire.hpp"

namespace fakescore::detail {

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
    case CallKind::kExchange:
      text << "exchange \"" << step.what << '"';
      break;
  }
  return text.str();
}

std::string encode_step(const Step& step) { return to_wire(step); }

std::optional<Step> decode_step(const std::string& bytes) {
  try {
    auto [step] = from_wire<Step>(bytes, "step");
    return is_known(step) ? std::optional<Step>(std::move(step)) : std::nullopt;
  } catch (const Error&) {
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

ErrorInfo different_parcels(int sender, int receiver, size_t expected_bytes, const Step& step) {
  std::ostringstream message;
  message << "rank " << receiver << " expects " << expected_bytes << " bytes of rank " << sender
          << " in " << describe(step) << ", which sends it another number";
  return {ErrorCode::kPeerLost, -1, "", step.what, message.str(), kStepsRemedy};
}

}  // namespace fakescore::detail
