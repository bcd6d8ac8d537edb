#include "fakescore/comm/bulk_plane.hpp"

namespace fakescore {
namespace {

class BroadcastGroup : public PendingOperation {
 public:
  explicit BroadcastGroup(std::vector<std::unique_ptr<PendingOperation>> members)
      : members_(std::move(members)) {}
  void wait() override {
    for (const auto& member : members_) member->wait();
  }

 private:
  std::vector<std::unique_ptr<PendingOperation>> members_;
};

}  // namespace

std::unique_ptr<PendingOperation> BulkPlane::start_broadcast_group(
    const std::vector<at::Tensor>& buffers, int root, const std::string& what) {
  std::vector<std::unique_ptr<PendingOperation>> members;
  members.reserve(buffers.size());
  for (const at::Tensor& buffer : buffers) members.push_back(start_broadcast(buffer, root, what));
  return std::make_unique<BroadcastGroup>(std::move(members));
}

}  // namespace fakescore
