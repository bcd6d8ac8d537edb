#pragma once

#include <string>

#include "support/shell.hpp"
#include "support/temp_folder.hpp"

namespace fakescore::testing {

/// The text of a file; "" where there is none.
std::string read_text(const std::filesystem::path& path);

/// A batch job of the Slurm that tests/slurm/with_cluster started. Its files lie in `folder`.
class SlurmJob {
 public:
  /// Submits a job of `tasks` tasks with the lines of `script`.
  SlurmJob(const TempFolder& folder, const std::string& script, int tasks = 2);

  const std::string& id() const { return id_; }
  /// Waits for the job's end; its exit code, and what its script and tasks printed.
  ShellResult wait() const;
  /// Slurm's word for the job's state, such as "CANCELLED".
  std::string state() const;
  /// Calls the command of Slurm's with the job's number behind it, once it has started `name`,
  /// which is a file that the script makes in the folder.
  void call_after(const std::string& command, const std::string& name) const;
  /// Slurm lets a requeued job wait for two minutes: not this one.
  void start_again() const;

 private:
  const TempFolder& folder_;
  std::string id_;
};

}  // namespace fakescore::testing
