#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>
#include <sstream>
#include <string>

#include "exit_codes.hpp"
#include "fakescore/fakescore.hpp"
#include "inspect_command.hpp"
#include "log.hpp"
#include "measure_command.hpp"
#include "options.hpp"
#include "plan_command.hpp"
#include "print.hpp"
#include "run_command.hpp"

namespace fakescore::launcher {
namespace {

constexpr const char* kFooter =
    "Ranks are found from torchrun's, Open MPI's, PMI's and Slurm's variables.\n"
    "Exit codes: 0 success, 1 internal error, 2 bad usage, 3 bad teacher, 4 ranks differ,\n"
    "5 lost peer, 6 build failed, 7 out of memory.";

/// Every rank has the same error: the first one prints it, and all where that one may be gone or
/// the error may be this rank's alone.
int report_error(const ErrorInfo& info, int rank) {
  if (rank == 0 || info.code == ErrorCode::kPeerLost || info.code == ErrorCode::kInternal)
    log_error(Error(info).what());
  return exit_code(info.code);
}

/// Whether this process speaks for its job, as far as its launcher can be understood.
bool is_first_rank() {
  try {
    return detect_launch_env().rank == 0;
  } catch (const ConfigError&) {
    return true;
  }
}

void print_lines(std::FILE* file, const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) print(file, "{}\n", line);
}

/// Prints help or what is wrong with the command line: the same on every rank, so on one alone.
int end_parsing(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream help;
  std::ostringstream complaint;
  const int code = app.exit(error, help, complaint);
  if (is_first_rank()) {
    print_lines(stdout, help.str());
    print_lines(stderr, complaint.str());
  }
  return code == 0 ? kSuccess : kBadUsage;
}

/// Ends a process whose peers are lost: finalising MPI would wait for them for ever.
[[noreturn]] void leave_at_once(int code) {
  flush_log();
  std::fflush(nullptr);
  ::_exit(code);
}

/// LibTorch looks for its CUDA library once, so before it is used. What is missing on this rank is
/// said when the communicator is made, where every rank hears of it.
void load_cuda_early() {
  try {
    load_cuda();
  } catch (const ConfigError&) {
    return;
  }
}

using JobCommand = std::function<void(const LaunchEnv&, Communicator&)>;

/// A command that every rank of a job runs.
int run_job(const LaunchOptions& options, const at::Device& device, const JobCommand& command) {
  std::optional<int> rank;
  try {
    LaunchOverride override;
    override.launcher = options.launcher;
    const LaunchEnv env = detect_launch_env(process_environment(), override);
    rank = env.rank;
    const auto timeout =
        std::chrono::milliseconds(static_cast<int64_t>(options.timeout_seconds * 1000));
    if (device.is_cuda()) load_cuda_early();
    const auto communicator = make_communicator(env, timeout, device);
    rank = communicator->rank();
    try {
      command(env, *communicator);
      return kSuccess;
    } catch (const CommError& error) {
      leave_at_once(report_error(error.info(), *rank));
    }
  } catch (...) {
    return report_error(describe_current_exception(rank.value_or(0), ""), rank.value_or(0));
  }
}

/// A command that is one process whatever launched it.
int run_alone(const std::string& name, const std::function<void()>& command) {
  try {
    command();
    return kSuccess;
  } catch (...) {
    return report_error(describe_current_exception(-1, name), 0);
  }
}

int main(int argc, char** argv) {
  CLI::App app("Builds a diffusion teacher's fake score on every rank of a job", "fakescore");
  app.set_version_flag("--version", "fakescore " FAKESCORE_VERSION);
  app.require_subcommand(1);
  app.footer(kFooter);
  RunOptions run_options;
  PlanOptions plan_options;
  MeasureCommandOptions measure_options;
  TeacherOptions inspect_options;
  const CLI::App* run_command = add_run_command(app, run_options);
  const CLI::App* plan_command = add_plan_command(app, plan_options);
  const CLI::App* measure_command = add_measure_command(app, measure_options);
  add_inspect_command(app, inspect_options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return end_parsing(app, error);
  }
  if (run_command->parsed()) {
    return run_job(run_options, at::Device(run_options.device),
                   [&](const LaunchEnv& env, Communicator& communicator) {
                     run(run_options, env, communicator);
                   });
  }
  if (measure_command->parsed()) {
    return run_job(measure_options, at::Device(measure_options.device),
                   [&](const LaunchEnv&, Communicator& communicator) {
                     measure(measure_options, communicator);
                   });
  }
  if (plan_command->parsed()) return run_alone("plan", [&] { plan(plan_options); });
  return run_alone("inspect", [&] { inspect(inspect_options); });
}

}  // namespace
}  // namespace fakescore::launcher

int main(int argc, char** argv) { return fakescore::launcher::main(argc, argv); }
