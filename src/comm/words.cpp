#include "comm/words.hpp"

#include <cstdio>

#include "error/join.hpp"

namespace fakescore::detail {

std::string in_seconds(std::chrono::milliseconds timeout) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", static_cast<double>(timeout.count()) / 1000);
  return text;
}

std::string name_ranks(const std::vector<int>& ranks) {
  std::vector<std::string> numbers;
  for (const int rank : ranks) numbers.push_back(std::to_string(rank));
  return (ranks.size() == 1 ? "rank " : "ranks ") + join(numbers, " and ");
}

}  // namespace fakescore::detail
