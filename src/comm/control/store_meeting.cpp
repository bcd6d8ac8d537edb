#include "comm/control/store_meeting.hpp"

#include <algorithm>
#include <utility>

#include "comm/control/step_wire.hpp"
#include "comm/control/store_list.hpp"

namespace fakescore::detail {

auto wire_fields(MeetingPart& part) {
  return std::tie(part.rank, part.step, part.is_clear, part.parts, part.message);
}

namespace {

using Bytes = std::vector<uint8_t>;

// A TCPStore server drops the connection of a client that sends more than 8 MiB at once.
constexpr size_t kLongestPart = size_t{4} << 20;
// What every rank brings is read by one of them together.
constexpr size_t kLongestInline = size_t{4} << 10;

std::string part_key(const std::string& key, int64_t part) {
  return key + "." + std::to_string(part);
}

Bytes encode(const MeetingPart& part) {
  const std::string bytes = to_wire(part);
  return {bytes.begin(), bytes.end()};
}

MeetingPart decode(const Bytes& bytes) {
  auto [part] = from_wire<MeetingPart>({bytes.begin(), bytes.end()}, "meeting");
  if (!is_known(part.step)) part.step = {};
  return part;
}

/// Writes a message of more than `longest` bytes under keys of its own.
MeetingPart write_part(c10d::Store& store, const std::string& key, MeetingPart part,
                       size_t longest) {
  if (part.message.size() <= longest) return part;
  for (size_t begin = 0; begin < part.message.size(); begin += kLongestPart) {
    const size_t end = std::min(begin + kLongestPart, part.message.size());
    const auto at = [&](size_t offset) {
      return part.message.begin() + static_cast<std::ptrdiff_t>(offset);
    };
    store.set(part_key(key, part.parts), Bytes(at(begin), at(end)));
    ++part.parts;
  }
  part.message.clear();
  return part;
}

void read_message(c10d::Store& store, const std::string& key, MeetingPart& part) {
  for (int64_t i = 0; i < part.parts; ++i) {
    const Bytes bytes = store.get(part_key(key, i));
    part.message.append(bytes.begin(), bytes.end());
  }
}

void delete_message(c10d::Store& store, const std::string& key, const MeetingPart& part) {
  for (int64_t i = 0; i < part.parts; ++i) store.deleteKey(part_key(key, i));
}

}  // namespace

bool arrive(c10d::Store& store, const StoreMeeting& meeting, const MeetingPart& part,
            int world_size) {
  const Bytes bytes =
      encode(write_part(store, meeting.message_of(part.rank), part, kLongestInline));
  append_to_list(store, meeting.arrivals(), bytes);
  return store.add(meeting.count(), 1) == world_size;
}

std::vector<MeetingPart> collect(c10d::Store& store, const StoreMeeting& meeting, int world_size) {
  std::vector<MeetingPart> parts(static_cast<size_t>(world_size));
  for (const Bytes& bytes : read_list(store, meeting.arrivals())) {
    MeetingPart part = decode(bytes);
    read_message(store, meeting.message_of(part.rank), part);
    delete_message(store, meeting.message_of(part.rank), part);
    const auto rank = static_cast<size_t>(part.rank);
    parts.at(rank) = std::move(part);
  }
  store.deleteKey(meeting.arrivals());
  store.deleteKey(meeting.count());
  return parts;
}

void write_outcome(c10d::Store& store, const StoreMeeting& meeting, MeetingPart outcome) {
  store.set(meeting.outcome(),
            encode(write_part(store, meeting.outcome(), std::move(outcome), kLongestPart)));
}

MeetingPart read_outcome(c10d::Store& store, const StoreMeeting& meeting) {
  MeetingPart outcome = decode(store.get(meeting.outcome()));
  read_message(store, meeting.outcome(), outcome);
  return outcome;
}

void delete_outcome(c10d::Store& store, const StoreMeeting& meeting) {
  delete_message(store, meeting.outcome(), decode(store.get(meeting.outcome())));
  store.deleteKey(meeting.outcome());
}

}  // namespace fakescore::detail
