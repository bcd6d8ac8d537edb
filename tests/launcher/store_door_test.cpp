// What a person sees while a job waits, and where its store cannot be joined: one line of ours, and
// nothing of c10d's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <stdexcept>
#include <thread>

#include "launcher/program.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kDigits;
using ::testing::Not;
using testing::program_command;
using testing::run_of;
using testing::run_shell;
using testing::ShellResult;

/// Listens on a port of this host, and does to each connection what it is given.
class Listener {
 public:
  explicit Listener(std::function<void(int)> greet)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(socket_, any, length) != 0 || ::listen(socket_, 16) != 0 ||
        ::getsockname(socket_, any, &length) != 0) {
      throw std::runtime_error("no port to listen on");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, greet = std::move(greet)] { serve(greet); });
  }
  ~Listener() {
    stop_ = true;
    thread_.join();
    for (const int connection : connections_) ::close(connection);
    ::close(socket_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return port_; }

 private:
  void serve(const std::function<void(int)>& greet) {
    while (!stop_) {
      pollfd entry{socket_, POLLIN, 0};
      if (::poll(&entry, 1, 50) <= 0) continue;
      connections_.push_back(::accept(socket_, nullptr, nullptr));
      greet(connections_.back());
    }
  }

  int socket_;
  int port_ = 0;
  std::atomic<bool> stop_{false};
  std::vector<int> connections_;
  std::thread thread_;
};

void stay_silent(int) {}
void hang_up(int connection) { ::shutdown(connection, SHUT_RDWR); }
void talk(int connection) {
  const std::string banner = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";
  static_cast<void>(!::send(connection, banner.data(), banner.size(), MSG_NOSIGNAL));
}

/// One rank of a job of two whose rank 0 serves the store.
ShellResult join(int rank, const std::string& address, int port,
                 const std::string& environment = "") {
  const std::string number = std::to_string(rank);
  return run_shell("env " + environment + " RANK=" + number + " WORLD_SIZE=2 LOCAL_RANK=" + number +
                   " MASTER_ADDR=" + address + " MASTER_PORT=" + std::to_string(port) + " " +
                   program_command(run_of(kDigits) + " --quiet --timeout 2"));
}

void expect_one_line(const ShellResult& result, const std::string& where, const std::string& why) {
  SCOPED_TRACE(result.output);
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1);
  EXPECT_THAT(result.output, AllOf(HasSubstr("store at " + where), HasSubstr(why)));
}

int free_port() { return Listener(stay_silent).port(); }

TEST(StoreDoor, ANameThatCannotBeResolvedIsOneLine) {
  const int port = free_port();
  for (const int rank : {0, 1}) {
    expect_one_line(join(rank, "no-such-host.invalid", port),
                    "no-such-host.invalid:" + std::to_string(port), "name cannot be resolved");
  }
}

TEST(StoreDoor, ANameServerThatDoesNotAnswerIsOneLine) {
  // The address sanitizer wants to be the first library.
  const std::string environment =
      "ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 LD_PRELOAD=" FAKESCORE_SLOW_RESOLVER;
  const int port = free_port();
  for (const int rank : {0, 1}) {
    expect_one_line(join(rank, "some-host.invalid", port, environment),
                    "some-host.invalid:" + std::to_string(port), "still being resolved");
  }
}

TEST(StoreDoor, AnAddressWhereNobodyListensIsOneLine) {
  const int port = free_port();
  const auto result = join(1, "127.0.0.1", port);
  expect_one_line(result, "127.0.0.1:" + std::to_string(port), "Connection refused");
  EXPECT_THAT(result.output, HasSubstr("MASTER_ADDR"));
}

TEST(StoreDoor, APortThatIsTakenIsOneLine) {
  for (const auto& greet : {stay_silent, hang_up, talk}) {
    const Listener other(greet);
    const std::string where = "127.0.0.1:" + std::to_string(other.port());
    const auto server = join(0, "127.0.0.1", other.port());
    expect_one_line(server, where, "another process listens on it");
    EXPECT_THAT(server.output, HasSubstr("MASTER_PORT"));
    expect_one_line(join(1, "127.0.0.1", other.port()), where, "does not answer as a TCPStore");
  }
}

TEST(StoreDoor, ALostRankIsOneLine) {
  const auto result = join(0, "127.0.0.1", free_port());
  SCOPED_TRACE(result.output);
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1);
  EXPECT_THAT(result.output, HasSubstr("rank 1 of 2 did not answer"));
}

#ifdef FAKESCORE_TEST_TORCHRUN
TEST(StoreDoor, WaitingIsSilentUnderTorchrun) {
  const std::string late = "[ \"$RANK\" = 1 ] && sleep 4; exec \"$@\"";
  const auto result = run_shell(testing::torchrun(2) + "/bin/sh -c " + testing::shell_quoted(late) +
                                " sh " + program_command(run_of(kDigits) + " --quiet"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(Not(HasSubstr("c10d")), Not(HasSubstr("frame #"))));
}
#endif

}  // namespace
}  // namespace fakescore
