#pragma once

#include <cstdint>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "comm/control/step.hpp"

namespace fakescore::detail {

/// A meeting of all ranks in a store, whose keys begin with `prefix`. Every rank adds what it
/// brings to one value and is counted; who comes last combines, and writes what came of it under
/// another key. So a rank writes twice and reads once, whatever the number of ranks.
struct StoreMeeting {
  std::string prefix;

  std::string arrivals() const { return prefix + "arrivals"; }
  std::string count() const { return prefix + "count"; }
  std::string outcome() const { return prefix + "outcome"; }
  std::string message_of(int rank) const { return prefix + "message/" + std::to_string(rank); }
};

/// What a rank brings, or what came of a meeting.
struct MeetingPart {
  int rank = 0;
  Step step;
  /// No broadcast that was begun before is unfinished: on this rank, or on any.
  bool is_clear = false;
  /// The message, or as many parts under a key of its own where it is long.
  std::string message;
  int64_t parts = 0;
};

/// Adds this rank's part. Returns whether it is the last.
bool arrive(c10d::Store& store, const StoreMeeting& meeting, const MeetingPart& part,
            int world_size);
/// All ranks' parts, indexed by rank, with their messages; deletes what lies in the store.
std::vector<MeetingPart> collect(c10d::Store& store, const StoreMeeting& meeting, int world_size);

/// Tells the others what came of it, and reads that.
void write_outcome(c10d::Store& store, const StoreMeeting& meeting, MeetingPart outcome);
MeetingPart read_outcome(c10d::Store& store, const StoreMeeting& meeting);
/// For when every rank has read it.
void delete_outcome(c10d::Store& store, const StoreMeeting& meeting);

}  // namespace fakescore::detail
