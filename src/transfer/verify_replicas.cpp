#include "transfer/verify_replicas.hpp"

#include <map>
#include <string>
#include <utility>

#include "comm/bulk/collect.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "tensor/digest_wire.hpp"
#include "tensor/shard_wire.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kVerifyPhase = "verify";

std::string describe_own(const std::vector<NamedTensor>& shards) {
  std::vector<at::Tensor> values;
  for (const NamedTensor& entry : shards) values.push_back(entry.tensor);
  const auto digests = digest_tensors(values);
  std::vector<Box> boxes;
  for (const NamedTensor& entry : shards) boxes.push_back(entry.shard->box);
  return to_wire(boxes, digests);
}

struct Seen {
  int rank = 0;
  Digest digest;
};

[[noreturn]] void throw_difference(const std::string& name, int first, int second) {
  throw_error({ErrorCode::kMismatch, second, kVerifyPhase, name,
               "its bytes on rank " + std::to_string(second) + " differ from those on rank " +
                   std::to_string(first) + ", which keeps the same part",
               "check that nothing else writes to the module during the job; if nothing does, "
               "check the memory and the network of these ranks"});
}

struct OwnParts {
  std::vector<Box> boxes;
  std::vector<Digest> digests;
};

Digest compare(const std::vector<NamedTensor>& shards, const std::vector<std::string>& described) {
  std::vector<OwnParts> ranks;
  for (const std::string& text : described) {
    auto [boxes, digests] =
        from_wire<std::vector<Box>, std::vector<Digest>>(text, "the digests of a rank's parts");
    ranks.push_back({std::move(boxes), std::move(digests)});
  }
  DigestSequence sequence;
  for (size_t i = 0; i < shards.size(); ++i) {
    std::map<Box, Seen> parts;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      const Seen own{static_cast<int>(rank), ranks[rank].digests.at(i)};
      const Seen& first = parts.emplace(ranks[rank].boxes.at(i), own).first->second;
      if (first.digest != own.digest) throw_difference(shards[i].name, first.rank, own.rank);
    }
    for (const auto& [box, seen] : parts) sequence.add(seen.digest);
  }
  return sequence.value();
}

}  // namespace

Digest verify_replicas(Communicator& communicator, const std::vector<NamedTensor>& shards,
                       int root) {
  std::string own;
  run_agreed(communicator, kVerifyPhase, ErrorCode::kMemory, [&] { own = describe_own(shards); });
  const auto described = collect_at(communicator, root, own, kVerifyPhase);
  std::string total;
  run_agreed(communicator, kVerifyPhase, ErrorCode::kMismatch, [&] {
    if (communicator.rank() == root) total = to_wire(compare(shards, described));
  });
  return std::get<0>(from_wire<Digest>(communicator.broadcast_message(total, root, kVerifyPhase),
                                       "the digest of all parts"));
}

}  // namespace fakescore::detail
