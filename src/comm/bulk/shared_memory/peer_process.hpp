#pragma once

namespace fakescore::detail {

/// Looks whether another process of this host still runs.
class PeerProcess {
 public:
  explicit PeerProcess(int id);
  PeerProcess(PeerProcess&& other) noexcept;
  PeerProcess& operator=(PeerProcess&&) = delete;
  ~PeerProcess();

  /// Whether it has ended, a zombie too. False where the kernel (before Linux 5.3) cannot tell.
  bool has_ended() const;

 private:
  int file_;
};

}  // namespace fakescore::detail
