#include "comm/bulk/shared_memory/peer_process.hpp"

#include <poll.h>
#include <unistd.h>

#include <utility>

namespace fakescore::detail {

namespace {

constexpr long kPidfdOpen = 434;  // SYS_pidfd_open, missing from older headers, on every machine

}  // namespace

PeerProcess::PeerProcess(int id) : file_(static_cast<int>(::syscall(kPidfdOpen, id, 0))) {}

PeerProcess::PeerProcess(PeerProcess&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

PeerProcess::~PeerProcess() {
  if (file_ >= 0) ::close(file_);
}

bool PeerProcess::has_ended() const {
  pollfd look{file_, POLLIN, 0};
  return file_ >= 0 && ::poll(&look, 1, 0) == 1 && (look.revents & POLLIN) != 0;
}

}  // namespace fakescore::detail
