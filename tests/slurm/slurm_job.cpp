#include "slurm/slurm_job.hpp"

#include <chrono>
#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace fakescore::testing {
namespace {

/// The bound is for a test that hangs; nothing is said about speed.
void wait_until(const std::string& what, const std::function<bool()>& done) {
  for (int i = 0; i < 900; ++i) {
    if (done()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw std::runtime_error("this did not happen within 90 s: " + what);
}

std::string without_line_end(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// The value of NAME in the "NAME=VALUE" words of scontrol.
std::string job_field(const std::string& id, const std::string& name) {
  const std::string text = run_shell("scontrol show job " + id).output;
  const size_t at = text.find(name + "=");
  if (at == std::string::npos) throw std::runtime_error("no " + name + " in: " + text);
  const size_t begin = at + name.size() + 1;
  return text.substr(begin, text.find_first_of(" \n", begin) - begin);
}

}  // namespace

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

SlurmJob::SlurmJob(const TempFolder& folder, const std::string& script, int tasks)
    : folder_(folder) {
  const auto file = folder / "job.sh";
  std::ofstream(file) << "#!/bin/bash\n" << script << "\n";
  // A requeued job goes on in its file.
  const auto result =
      run_shell("sbatch --parsable --open-mode=append --ntasks=" + std::to_string(tasks) +
                " --chdir=" + shell_quoted(folder.path()) +
                " --output=" + shell_quoted(folder / "job.out") + " " + shell_quoted(file));
  if (result.exit_code != 0) throw std::runtime_error("sbatch: " + result.output);
  id_ = without_line_end(result.output);
}

std::string SlurmJob::state() const { return job_field(id_, "JobState"); }

ShellResult SlurmJob::wait() const {
  wait_until("the end of the job", [this] {
    const std::string now = state();
    return now != "PENDING" && now != "CONFIGURING" && now != "RUNNING" && now != "COMPLETING" &&
           now != "REQUEUED";
  });
  // "CODE:SIGNAL"
  return {std::stoi(job_field(id_, "ExitCode")), read_text(folder_ / "job.out")};
}

void SlurmJob::call_after(const std::string& command, const std::string& name) const {
  wait_until(name, [&] { return std::filesystem::exists(folder_ / name); });
  const auto result = run_shell(command + " " + id_);
  if (result.exit_code != 0) throw std::runtime_error(command + ": " + result.output);
}

void SlurmJob::start_again() const {
  // The two minutes are for the end of the first try. slurmd refuses what is of the same second.
  wait_until("the end of the first try", [this] {
    return state() == "PENDING" && run_shell("sinfo --noheader --format=%t").output == "idle\n";
  });
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const auto result = run_shell("scontrol update StartTime=now JobId=" + id_);
  if (result.exit_code != 0) throw std::runtime_error("scontrol update: " + result.output);
}

}  // namespace fakescore::testing
