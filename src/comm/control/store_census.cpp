#include "comm/control/store_census.hpp"

#include <nlohmann/json.hpp>
#include <vector>

#include "comm/control/store_list.hpp"

namespace fakescore::detail {
namespace {

using nlohmann::json;
using Bytes = std::vector<uint8_t>;

}  // namespace

void write_answer(c10d::Store& store, const std::string& key, int rank, const Answer& answer) {
  Bytes bytes;
  json::to_msgpack(json::array({rank, encode_answer(answer)}), bytes);
  append_to_list(store, key, bytes);
}

Answers read_answers(c10d::Store& store, const std::string& key, int world_size) {
  Answers answers(static_cast<size_t>(world_size));
  for (const Bytes& bytes : read_list(store, key)) {
    const json fields = json::from_msgpack(bytes);
    answers.at(fields.at(0).get<size_t>()) = decode_answer(fields.at(1).get<std::string>());
  }
  return answers;
}

}  // namespace fakescore::detail
