#include "comm/control/store_census.hpp"

#include <string>
#include <vector>

#include "comm/control/store_list.hpp"
#include "error/wire.hpp"

namespace fakescore::detail {

void write_answer(c10d::Store& store, const std::string& key, int rank, const Answer& answer) {
  const std::string bytes = to_wire(rank, encode_answer(answer));
  append_to_list(store, key, {bytes.begin(), bytes.end()});
}

Answers read_answers(c10d::Store& store, const std::string& key, int world_size) {
  Answers answers(static_cast<size_t>(world_size));
  for (const std::vector<uint8_t>& bytes : read_list(store, key)) {
    try {
      const auto [rank, answer] =
          from_wire<size_t, std::string>({bytes.begin(), bytes.end()}, "answer");
      answers.at(rank) = decode_answer(answer);
    } catch (const MismatchError&) {
      continue;  // of another build: as one that does not answer
    }
  }
  return answers;
}

}  // namespace fakescore::detail
