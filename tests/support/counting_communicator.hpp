#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::testing {

/// Bytes of bulk data that a rank has sent to others and received from them, by exchanges, and the
/// bytes of the broadcasts that it took part in.
struct BulkBytes {
  int64_t sent = 0;
  int64_t received = 0;
  int64_t broadcast = 0;
};

/// Passes every operation on to a real bulk plane, and counts.
class CountingBulk : public BulkPlane {
 public:
  CountingBulk(std::shared_ptr<BulkPlane> inner, std::shared_ptr<BulkBytes> bytes)
      : BulkPlane(inner->backend(), inner->device()),
        inner_(std::move(inner)),
        bytes_(std::move(bytes)) {}

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override {
    bytes_->broadcast += buffer.numel();
    return inner_->start_broadcast(buffer, root, what);
  }
  std::unique_ptr<PendingOperation> start_broadcast_group(const std::vector<at::Tensor>& buffers,
                                                          int root,
                                                          const std::string& what) override {
    for (const at::Tensor& buffer : buffers) bytes_->broadcast += buffer.numel();
    return inner_->start_broadcast_group(buffers, root, what);
  }
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override {
    bytes_->sent += exchange.outgoing.numel();
    bytes_->received += exchange.incoming.numel();
    return inner_->start_exchange(exchange, what);
  }
  void break_off(const std::string& reason) noexcept override { inner_->break_off(reason); }

 private:
  std::shared_ptr<BulkPlane> inner_;
  std::shared_ptr<BulkBytes> bytes_;
};

/// A communicator over the planes of a real one, of which that of the real one's device counts.
inline std::unique_ptr<Communicator> make_counting(const Communicator& real,
                                                   std::shared_ptr<BulkBytes> bytes) {
  if (real.gpu_plane()) {
    return std::make_unique<Communicator>(
        real.control_plane(), real.host_plane(),
        std::make_shared<CountingBulk>(real.gpu_plane(), std::move(bytes)));
  }
  return std::make_unique<Communicator>(
      real.control_plane(), std::make_shared<CountingBulk>(real.host_plane(), std::move(bytes)));
}

}  // namespace fakescore::testing
