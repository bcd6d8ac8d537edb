#include "comm/bulk/shared_memory/peer_process.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

namespace fakescore::detail {

// glibc has no name for the call before 2.36.
PeerProcess::PeerProcess(int id) : file_(static_cast<int>(::syscall(SYS_pidfd_open, id, 0))) {}

PeerProcess::PeerProcess(PeerProcess&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

PeerProcess::~PeerProcess() {
  if (file_ >= 0) ::close(file_);
}

bool PeerProcess::has_ended() const {
  pollfd look{file_, POLLIN, 0};
  return file_ >= 0 && ::poll(&look, 1, 0) == 1;
}

}  // namespace fakescore::detail
