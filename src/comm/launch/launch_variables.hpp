#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/comm/launch_env.hpp"

namespace fakescore::detail {

inline constexpr int kLargestNumber = std::numeric_limits<int>::max();
inline constexpr int kLargestPort = 65535;

/// Throws ConfigError in the phase "launch".
[[noreturn]] void fail_launch(std::string subject, std::string message, std::string remedy);

std::string in_quotes(const std::string& value);

/// "a number from 0", "a number from 1 to 65535".
std::string describe_number_range(int64_t least, int64_t most);

/// A rank and the size that it belongs to.
struct RankAndSize {
  int rank = 0;
  int world_size = 1;
};

/// The variables of the environment, with what the caller set itself in front of them.
class LaunchVariables {
 public:
  LaunchVariables(const Environment& environment, const LaunchOverride& override)
      : environment_(environment), override_(override) {}

  std::optional<std::string> find(const std::string& name) const { return environment_(name); }
  bool has(const std::string& name) const { return find(name).has_value(); }
  bool has_any(const std::vector<std::string>& names) const;

  /// As find(), but a variable that is set to nothing counts as absent.
  std::optional<std::string> find_non_empty(const std::string& name) const;

  /// nullopt where the variable is absent; throws where it is no number in the range.
  std::optional<int64_t> number(const std::string& name, int64_t least, int64_t most) const;

  /// Whether a launcher set both of the variables that only mean something together.
  bool has_both(const std::string& rank_name, const std::string& size_name) const;

  /// Both variables are present.
  RankAndSize rank_and_size(const std::string& rank_name, const std::string& size_name) const;

  /// The first of `names` that is set. What the caller set itself stands in for all of them, and is
  /// not returned.
  std::optional<int> local_rank(const std::vector<std::string>& names) const;

  /// Empty where neither the caller nor MASTER_ADDR names an address.
  std::string master_addr() const;

  /// 0 where neither the caller nor MASTER_PORT names a port.
  int master_port() const;

  /// "RANK="0", WORLD_SIZE="1"": those of `names` that are set.
  std::string describe(const std::vector<std::string>& names) const;

 private:
  const Environment& environment_;
  const LaunchOverride& override_;
};

inline constexpr const char* kAddrLookedFor = "option master_addr, variable MASTER_ADDR";
inline constexpr const char* kPortLookedFor = "option master_port, variable MASTER_PORT";

/// A job of several processes needs a store; the error says where its address and port were sought.
void require_master(const LaunchEnv& launch, const std::string& addr_looked_for = kAddrLookedFor,
                    const std::string& port_looked_for = kPortLookedFor);

}  // namespace fakescore::detail
