#include "teacher/source/numbered_shards.hpp"

#include <utility>

#include "error/join.hpp"
#include "teacher/source/weight_names.hpp"

namespace fakescore::detail {
namespace {

/// The set's name with a number of as many digits as the count has.
std::string shard_file(const NumberedShards& set, uint64_t number) {
  const size_t star = set.name.find("-*-of-") + 1;
  const size_t count_begin = star + 5;
  const size_t digits = set.name.find('.', count_begin) - count_begin;
  std::string text = std::to_string(number);
  if (text.size() < digits) text.insert(0, digits - text.size(), '0');
  return set.name.substr(0, star) + text + set.name.substr(star + 1);
}

}  // namespace

bool NumberedShards::is_complete() const {
  return second.empty() && files.size() == count && files.begin()->first == 1 &&
         files.rbegin()->first == count;
}

std::string NumberedShards::describe_fault() const {
  if (!second.empty()) return second + " has the number of another";
  constexpr size_t kShown = 3;
  std::vector<std::string> missing;
  for (uint64_t number = 1; number <= count && missing.size() < kShown; ++number) {
    if (!files.contains(number)) missing.push_back(shard_file(*this, number));
  }
  std::string text = std::to_string(files.size()) + " of " + std::to_string(count) + " are there";
  if (missing.empty()) return text;  // a number that none of so many can have
  const uint64_t more = count > files.size() ? count - files.size() : 0;
  text += ", missing are " + join_some(missing);
  return more > missing.size() ? text + " and " + std::to_string(more - missing.size()) + " more"
                               : text;
}

std::vector<NumberedShards> find_numbered_shards(const std::vector<std::string>& names) {
  std::map<std::string, NumberedShards> sets;
  for (const std::string& name : names) {
    const auto shard = parse_shard_name(name);
    if (!shard) continue;
    NumberedShards& set = sets[shard->set];
    set.name = shard->set;
    set.whole = shard->whole;
    set.count = shard->count;
    if (!set.files.emplace(shard->number, name).second) set.second = name;
  }
  std::vector<NumberedShards> found;
  found.reserve(sets.size());
  for (auto& [name, set] : sets) found.push_back(std::move(set));
  return found;
}

}  // namespace fakescore::detail
