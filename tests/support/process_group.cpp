#include "support/process_group.hpp"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace fakescore::testing {
namespace {

constexpr std::chrono::milliseconds kPoll{10};

std::vector<std::string> merged_environment(const std::vector<std::string>& extra) {
  std::vector<std::string> merged = extra;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('=') + 1);
    const bool replaced = std::any_of(extra.begin(), extra.end(), [&](const std::string& other) {
      return other.starts_with(name);
    });
    if (!replaced) merged.push_back(text);
  }
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// mpirun and torchrun give their ranks process groups of their own, so the tree is walked. Each
/// parent is stopped first, so that it starts nothing more meanwhile.
void kill_tree(pid_t process) {
  ::kill(process, SIGSTOP);
  const std::string id = std::to_string(process);
  std::ifstream children("/proc/" + id + "/task/" + id + "/children");
  for (pid_t child = 0; children >> child;) kill_tree(child);
  ::kill(process, SIGKILL);
}

/// Standard output and standard error of one process. A file in memory: a process never blocks on
/// it, and nothing is left behind.
class Capture {
 public:
  Capture() : file_(::memfd_create("fakescore-test-output", MFD_CLOEXEC)) {
    if (file_ < 0) throw std::system_error(errno, std::generic_category(), "memfd_create");
  }
  ~Capture() { ::close(file_); }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  int file() const { return file_; }
  std::string text() const {
    std::string text;
    std::array<char, 4096> buffer{};
    for (;;) {
      const auto count =
          ::pread(file_, buffer.data(), buffer.size(), static_cast<off_t>(text.size()));
      if (count <= 0) return text;
      text.append(buffer.data(), static_cast<size_t>(count));
    }
  }

 private:
  int file_;
};

pid_t spawn(std::vector<std::string> command, std::vector<std::string> environment, int output) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  const auto argv = pointers(command);
  const auto envp = pointers(environment);
  pid_t process = -1;
  const int error =
      ::posix_spawn(&process, argv.front(), &actions, nullptr, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::system_error(error, std::generic_category(), command.front());
  return process;
}

}  // namespace

class ProcessGroup::Process {
 public:
  Process(std::vector<std::string> command, const std::vector<std::string>& environment)
      : id_(spawn(std::move(command), merged_environment(environment), capture_.file())) {}
  ~Process() {
    if (ended()) return;
    kill_tree(id_);
    ::waitpid(id_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  bool ended() {
    int status = 0;
    if (!ended_ && ::waitpid(id_, &status, WNOHANG) == id_) {
      ended_ = true;
      exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return ended_;
  }
  Outcome outcome() {
    const bool has_ended = ended();
    return {has_ended, exit_code_, capture_.text()};
  }

 private:
  Capture capture_;
  pid_t id_;
  bool ended_ = false;
  int exit_code_ = -1;
};

ProcessGroup::ProcessGroup(const std::string& executable, const std::vector<std::string>& arguments,
                           const std::vector<std::vector<std::string>>& environments) {
  std::vector<std::string> command{executable};
  command.insert(command.end(), arguments.begin(), arguments.end());
  for (const auto& environment : environments) {
    processes_.push_back(std::make_unique<Process>(command, environment));
  }
}

ProcessGroup::~ProcessGroup() = default;

std::vector<ProcessGroup::Outcome> ProcessGroup::wait(std::chrono::milliseconds deadline,
                                                      const std::vector<size_t>& awaited) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  const auto is_awaited = [&](size_t rank) {
    return awaited.empty() || std::find(awaited.begin(), awaited.end(), rank) != awaited.end();
  };
  const auto any_left = [&] {
    for (size_t rank = 0; rank < processes_.size(); ++rank) {
      if (is_awaited(rank) && !processes_[rank]->ended()) return true;
    }
    return false;
  };
  while (any_left() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(kPoll);

  std::vector<Outcome> outcomes;
  for (const auto& process : processes_) outcomes.push_back(process->outcome());
  return outcomes;
}

std::vector<std::string> store_environment(int rank, int world_size, int port) {
  return {"RANK=" + std::to_string(rank),        "WORLD_SIZE=" + std::to_string(world_size),
          "LOCAL_RANK=" + std::to_string(rank),  "MASTER_ADDR=127.0.0.1",
          "MASTER_PORT=" + std::to_string(port), "TORCHELASTIC_USE_AGENT_STORE=True"};
}

}  // namespace fakescore::testing
