#include "comm/store_keys.hpp"

namespace fakescore::detail {

std::vector<std::string> with_prefix(const std::string& prefix,
                                     const std::vector<std::string>& keys) {
  std::vector<std::string> full;
  for (const std::string& key : keys) full.push_back(prefix + key);
  return full;
}

std::vector<std::string> keys_of_ranks(const std::string& begin, int world_size) {
  std::vector<std::string> keys;
  for (int rank = 0; rank < world_size; ++rank) keys.push_back(begin + std::to_string(rank));
  return keys;
}

Answers read_answers(c10d::Store& store, const std::vector<std::string>& keys) {
  Answers answers;
  for (const std::string& key : keys) {
    answers.emplace_back();
    if (!store.check({key})) continue;
    const auto value = store.get(key);
    answers.back() = decode_answer(std::string(value.begin(), value.end()));
  }
  return answers;
}

}  // namespace fakescore::detail
