#pragma once

#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "comm/control/census.hpp"

namespace fakescore::detail {

/// Adds a rank's answer to those under `key`.
void write_answer(c10d::Store& store, const std::string& key, int rank, const Answer& answer);

/// The answers under `key`, of which there is at least one, indexed by rank.
Answers read_answers(c10d::Store& store, const std::string& key, int world_size);

}  // namespace fakescore::detail
