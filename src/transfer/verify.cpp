#include "transfer/verify.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "comm/control/agreement.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

std::string to_bytes(const std::vector<Digest>& digests) {
  std::string bytes(digests.size() * sizeof(Digest), '\0');
  std::memcpy(bytes.data(), digests.data(), bytes.size());
  return bytes;
}

constexpr const char* kPhase = "verify";

[[noreturn]] void throw_first_difference(Communicator& communicator,
                                         const std::vector<NamedTensor>& tensors,
                                         const std::vector<Digest>& digests, int root) {
  const std::string own = to_bytes(digests);
  const std::string expected = communicator.broadcast_message(own, root, kPhase);
  const auto at = static_cast<size_t>(
      std::mismatch(own.begin(), own.end(), expected.begin(), expected.end()).first - own.begin());
  const std::string first = at < own.size() ? tensors[at / sizeof(Digest)].name : "";
  const RankReport report = first_report(communicator, kPhase, first);
  throw_error(
      {ErrorCode::kMismatch, report.rank, kPhase, report.text,
       "its bytes differ from those of root rank " + std::to_string(root),
       "check that nothing else writes to the module during the job; if nothing does, check "
       "the memory and the network of this rank"});
}

}  // namespace

Digest verify_across_ranks(Communicator& communicator, const std::vector<NamedTensor>& tensors,
                           int root) {
  std::vector<Digest> digests;
  DigestSequence sequence;
  run_agreed(communicator, kPhase, ErrorCode::kMemory, [&] {
    std::vector<at::Tensor> values;
    values.reserve(tensors.size());
    for (const NamedTensor& entry : tensors) values.push_back(entry.tensor);
    digests = digest_tensors(values);
    for (const Digest& digest : digests) sequence.add(digest);
  });
  const Digest total = sequence.value();
  if (!communicator.compare(to_string(total), kPhase).is_same()) {
    throw_first_difference(communicator, tensors, digests, root);
  }
  return total;
}

}  // namespace fakescore::detail
