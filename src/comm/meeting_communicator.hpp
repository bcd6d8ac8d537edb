#pragma once

#include <string>
#include <vector>

#include "comm/base_communicator.hpp"
#include "comm/meeting.hpp"

namespace fakescore::detail {

/// A backend that carries control messages itself: every control call is a meeting of all ranks.
class MeetingCommunicator : public BaseCommunicator {
 public:
  std::vector<std::string> all_gather(const std::string& message,
                                      const std::string& what) override {
    const Step step{CallKind::kAllGather, -1, -1, what};
    auto messages = read_all_gathered(meet(step, message));
    hear_of_all(what);
    return messages;
  }

  Comparison compare(const std::string& value, const std::string& what) override {
    const Step step{CallKind::kCompare, -1, -1, what};
    auto found = read_comparison(meet(step, value));
    hear_of_all(what);
    return found;
  }

  /// The root need not wait for the others, so that not all ranks hear of all.
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override {
    require_healthy();
    require_root(root, what);
    const Step step{CallKind::kBroadcastMessage, root, -1, what};
    return meet(step, rank() == root ? message : std::string());
  }

 protected:
  using BaseCommunicator::BaseCommunicator;

  /// Every rank's message, combined as the step asks for.
  virtual std::string meet(const Step& step, const std::string& message) = 0;
};

}  // namespace fakescore::detail
