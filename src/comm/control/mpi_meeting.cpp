// A control call over MPI: one rank hears all others, and tells them what came of it.
#include <mpi.h>

#include <algorithm>
#include <utility>

#include "comm/control/mpi_planes.hpp"
#include "error/error_codec.hpp"

namespace fakescore::detail {
namespace {

constexpr int kLeader = 0;

}  // namespace

/// The leader learns which step each rank called and, if they are short, their messages.
std::vector<Head> MpiPlanes::gather_heads(const Step& step, const std::string& message,
                                          Deadline& deadline) {
  const auto operation = begin_operation();
  operation->heads.resize(rank() == kLeader ? static_cast<size_t>(world_size()) + 1 : 1);
  operation->heads.back() = make_head(step, message.size(), message);
  require_success(MPI_Igather(&operation->heads.back(), sizeof(Head), MPI_BYTE,
                              operation->heads.data(), sizeof(Head), MPI_BYTE, kLeader,
                              group_->control, &operation->requests.emplace_back()),
                  step.what);
  finish(operation, step, deadline);
  operation->heads.pop_back();
  return std::move(operation->heads);
}

MeetingHead MpiPlanes::send_head(const Step& step, const MeetingHead& head, Deadline& deadline) {
  const auto operation = begin_operation();
  operation->meeting = head;
  require_success(MPI_Ibcast(&operation->meeting, sizeof operation->meeting, MPI_BYTE, kLeader,
                             group_->control, &operation->requests.emplace_back()),
                  step.what);
  finish(operation, step, deadline);
  return operation->meeting;
}

/// `root`'s bytes, on every rank, of which each knows the size.
std::string MpiPlanes::send_bytes(const Step& step, std::string bytes, int64_t size, int root,
                                  Deadline& deadline) {
  const auto operation = begin_operation();
  operation->bytes = std::move(bytes);
  operation->bytes.resize(static_cast<size_t>(size));
  for (int64_t begin = 0; begin < size; begin += kMpiPiece) {
    require_success(MPI_Ibcast(operation->bytes.data() + begin,
                               static_cast<int>(std::min(kMpiPiece, size - begin)), MPI_BYTE, root,
                               group_->control, &operation->requests.emplace_back()),
                    step.what);
  }
  finish(operation, step, deadline);
  return std::move(operation->bytes);
}

/// Every rank's message, on the leader.
std::vector<std::string> MpiPlanes::gather_messages(const Step& step, const std::string& message,
                                                    int64_t longest, const std::vector<Head>& heads,
                                                    Deadline& deadline) {
  std::vector<std::string> messages(heads.size());
  // Offsets are ints: a round carries at most one piece in all.
  const int64_t share = kMpiPiece / world_size();
  const auto part = [&](int64_t bytes, int64_t begin) {
    return static_cast<int>(std::clamp<int64_t>(bytes - begin, 0, share));
  };
  for (int64_t begin = 0; begin < longest; begin += share) {
    const auto operation = begin_operation();
    int total = 0;
    for (const Head& head : heads) {
      operation->offsets.push_back(total);
      operation->counts.push_back(part(head.bytes, begin));
      total += operation->counts.back();
    }
    const int mine = part(static_cast<int64_t>(message.size()), begin);
    if (mine > 0)
      operation->bytes = message.substr(static_cast<size_t>(begin), static_cast<size_t>(mine));
    operation->received.resize(static_cast<size_t>(total));
    require_success(
        MPI_Igatherv(operation->bytes.data(), mine, MPI_BYTE, operation->received.data(),
                     operation->counts.data(), operation->offsets.data(), MPI_BYTE, kLeader,
                     group_->control, &operation->requests.emplace_back()),
        step.what);
    finish(operation, step, deadline);
    for (size_t peer = 0; peer < heads.size(); ++peer) {
      messages[peer].append(operation->received.data() + operation->offsets[peer],
                            static_cast<size_t>(operation->counts[peer]));
    }
  }
  return messages;
}

/// What came of the meeting, in the head if it fits.
void MpiPlanes::send_result(const Step& step, MeetingHead::Next next, const std::string& result,
                            Deadline& deadline) {
  const auto bytes = static_cast<int64_t>(result.size());
  send_head(step, make_meeting_head(next, bytes, result), deadline);
  if (!fits_in_head(bytes)) send_bytes(step, result, bytes, kLeader, deadline);
}

std::string MpiPlanes::lead(const Step& step, const std::string& message,
                            const std::vector<Head>& heads, Deadline& deadline) {
  using Next = MeetingHead::Next;
  const Step mine = read_step(heads[kLeader]);
  for (int peer = 0; peer < world_size(); ++peer) {
    const Step theirs = read_step(heads[static_cast<size_t>(peer)]);
    if (theirs == mine) continue;
    const ErrorInfo error = different_steps(kLeader, mine, peer, theirs, backend());
    send_result(step, Next::kDifferent, encode_error(error), deadline);
    give_up(error);
  }
  if (step.kind == CallKind::kBroadcastMessage) {
    const int64_t bytes = heads[static_cast<size_t>(step.root)].bytes;
    send_head(step, make_meeting_head(Next::kFromRoot, bytes), deadline);
    return send_bytes(step, message, bytes, step.root, deadline);
  }
  const int64_t longest = std::max_element(heads.begin(), heads.end(), [](auto& a, auto& b) {
                            return a.bytes < b.bytes;
                          })->bytes;
  std::vector<std::string> messages;
  if (longest > static_cast<int64_t>(sizeof(Head::message))) {
    send_head(step, make_meeting_head(Next::kMessages, longest), deadline);
    messages = gather_messages(step, message, longest, heads, deadline);
  } else {
    for (const Head& head : heads) {
      messages.emplace_back(head.message, static_cast<size_t>(head.bytes));
    }
  }
  std::string combined = combine(step, std::move(messages));
  send_result(step, Next::kResult, combined, deadline);
  return combined;
}

std::string MpiPlanes::follow(const Step& step, const std::string& message, Deadline& deadline) {
  using Next = MeetingHead::Next;
  MeetingHead head = send_head(step, {}, deadline);
  if (head.next == Next::kFromRoot) {
    return send_bytes(step, message, head.bytes, step.root, deadline);
  }
  if (head.next == Next::kMessages) {
    gather_messages(step, message, head.bytes, {}, deadline);
    head = send_head(step, {}, deadline);
  }
  std::string result = fits_in_head(head.bytes)
                           ? std::string(head.result, static_cast<size_t>(head.bytes))
                           : send_bytes(step, "", head.bytes, kLeader, deadline);
  if (head.next == Next::kDifferent) give_up(decode_error(result));
  return result;
}

std::string MpiPlanes::meet(const Step& step, const std::string& message) {
  require_usable(step.what);
  Deadline deadline(timeout());
  const std::vector<Head> heads = gather_heads(step, message, deadline);
  return rank() == kLeader ? lead(step, message, heads, deadline) : follow(step, message, deadline);
}

}  // namespace fakescore::detail
