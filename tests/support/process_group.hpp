#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace fakescore::testing {

/// One process per rank. What is still there when the group is destroyed is killed, stopped
/// processes and the children of launchers included.
class ProcessGroup {
 public:
  struct Outcome {
    bool ended = false;
    int exit_code = -1;  ///< 128 + signal where a signal ended it
    std::string output;  ///< standard output and standard error so far
  };

  /// Starts `executable`, a path, once per element of `environments`. Each element holds
  /// "NAME=value" entries that are added to, and win over, this process's environment.
  ProcessGroup(const std::string& executable, const std::vector<std::string>& arguments,
               const std::vector<std::vector<std::string>>& environments);
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  /// Returns what is known of every rank once all of `awaited` have ended (all ranks where it is
  /// empty), or when `deadline` has passed. A stopped rank never ends, hence `awaited`.
  std::vector<Outcome> wait(std::chrono::milliseconds deadline,
                            const std::vector<size_t>& awaited = {});

 private:
  class Process;
  std::vector<std::unique_ptr<Process>> processes_;
};

/// What makes a rank join, as a client, a TCPStore that the test itself serves on `port`.
std::vector<std::string> store_environment(int rank, int world_size, int port);

}  // namespace fakescore::testing
