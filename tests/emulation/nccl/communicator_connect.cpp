// How the peers of a launch wait for each other before the first one is put on the stream.
#include "nccl/communicator.hpp"

namespace fakescore::emulation {

/// Bit r: rank r takes part. In a collective all do, in a message its two ends.
uint32_t Communicator::partners(const std::vector<NcclOperation>& operations) const {
  const uint32_t everybody = (uint32_t{1} << size_) - 1;
  uint32_t partners = 0;
  for (const NcclOperation& operation : operations) {
    partners |= operation.is_message() ? uint32_t{1} << operation.peer : everybody;
  }
  return partners;
}

void Communicator::announce(const std::vector<NcclOperation>& operations) {
  (*segment_)->ranks[rank_].launched_with |= partners(operations);
}

ncclResult_t Communicator::connect(const std::vector<NcclOperation>& operations) {
  const uint32_t awaited = partners(operations);
  const auto all_have_come = [&] {
    for (int peer = 0; peer < size_; ++peer) {
      const bool is_awaited = peer != rank_ && (awaited >> peer & 1) != 0;
      const uint32_t launched = (*segment_)->ranks[peer].launched_with;
      if (is_awaited && (launched >> rank_ & 1) == 0) return false;
    }
    return true;
  };
  ++running_;  // abort waits for who is in here
  const Outcome outcome = wait_for(all_have_come);
  --running_;
  switch (outcome) {
    case Outcome::kDone:
      return ncclSuccess;
    case Outcome::kError:
      return state_;
    case Outcome::kOver:
      break;
  }
  return why_over();
}

}  // namespace fakescore::emulation
