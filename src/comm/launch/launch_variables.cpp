#include "comm/launch/launch_variables.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

std::optional<int64_t> parse_launch_number(std::string_view text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, number);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return number;
}

}  // namespace

void fail_launch(std::string subject, std::string message, std::string remedy) {
  throw_error({ErrorCode::kConfig, -1, "launch", std::move(subject), std::move(message),
               std::move(remedy)});
}

std::string in_quotes(const std::string& value) { return "\"" + value + "\""; }

std::string describe_number_range(int64_t least, int64_t most) {
  std::string text = "a number from " + std::to_string(least);
  if (most < kLargestNumber) text += " to " + std::to_string(most);
  return text;
}

bool LaunchVariables::has_any(const std::vector<std::string>& names) const {
  return std::any_of(names.begin(), names.end(), [this](const auto& name) { return has(name); });
}

std::optional<std::string> LaunchVariables::find_non_empty(const std::string& name) const {
  auto value = find(name);
  if (value && value->empty()) return std::nullopt;
  return value;
}

std::optional<int64_t> LaunchVariables::number(const std::string& name, int64_t least,
                                               int64_t most) const {
  const auto value = find(name);
  if (!value) return std::nullopt;
  const auto parsed = parse_launch_number(*value);
  if (!parsed || *parsed < least || *parsed > most) {
    const std::string range = describe_number_range(least, most);
    fail_launch("variable " + name, "is " + in_quotes(*value) + ", not " + range,
                "set " + name + " to " + range + ", or unset it");
  }
  return parsed;
}

bool LaunchVariables::has_both(const std::string& rank_name, const std::string& size_name) const {
  const bool has_rank = has(rank_name);
  const bool has_size = has(size_name);
  if (has_rank == has_size) return has_rank;
  const std::string& present = has_rank ? rank_name : size_name;
  const std::string& absent = has_rank ? size_name : rank_name;
  fail_launch("variable " + present,
              "is " + in_quotes(*find(present)) + ", but " + absent + " is not set",
              "set both " + rank_name + " and " + size_name + ", or neither");
}

RankAndSize LaunchVariables::rank_and_size(const std::string& rank_name,
                                           const std::string& size_name) const {
  RankAndSize found;
  found.rank = static_cast<int>(*number(rank_name, 0, kLargestNumber));
  found.world_size = static_cast<int>(*number(size_name, 1, kLargestNumber));
  if (found.rank < found.world_size) return found;
  fail_launch("variable " + rank_name,
              "is " + in_quotes(*find(rank_name)) + ", but " + size_name + " is " +
                  in_quotes(*find(size_name)),
              "give every process a " + rank_name + " from 0 to " + size_name + " - 1");
}

std::optional<int> LaunchVariables::local_rank(const std::vector<std::string>& names) const {
  if (override_.local_rank) return std::nullopt;
  for (const std::string& name : names) {
    if (const auto value = number(name, 0, kLargestNumber)) return static_cast<int>(*value);
  }
  return std::nullopt;
}

std::string LaunchVariables::master_addr() const {
  return override_.master_addr ? *override_.master_addr
                               : find_non_empty("MASTER_ADDR").value_or("");
}

int LaunchVariables::master_port() const {
  if (override_.master_port) return *override_.master_port;
  return static_cast<int>(number("MASTER_PORT", 1, kLargestPort).value_or(0));
}

std::string LaunchVariables::describe(const std::vector<std::string>& names) const {
  std::string text;
  for (const std::string& name : names) {
    const auto value = find(name);
    if (!value) continue;
    if (!text.empty()) text += ", ";
    text += name + "=" + in_quotes(*value);
  }
  return text;
}

void require_master(const LaunchEnv& launch, const std::string& addr_looked_for,
                    const std::string& port_looked_for) {
  if (launch.world_size == 1) return;
  std::string missing;
  std::string looked_for;
  if (launch.master_addr.empty()) {
    missing = "no master address";
    looked_for = addr_looked_for;
  }
  if (launch.master_port == 0) {
    missing += missing.empty() ? "no master port" : " and no master port";
    looked_for += (looked_for.empty() ? "" : "; ") + port_looked_for;
  }
  if (missing.empty()) return;
  fail_launch(std::string("launcher ") + to_string(launch.launcher),
              "has " + std::to_string(launch.world_size) + " processes but " + missing +
                  "; looked for " + looked_for,
              "set MASTER_ADDR and MASTER_PORT to the same values on every rank, or pass "
              "master_addr and master_port");
}

}  // namespace fakescore::detail
