#include "transfer/verify.hpp"

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
  if (expected.size() != own.size()) {
    throw MismatchError("digests",
                        "are " + std::to_string(expected.size()) + " bytes on the root, " +
                            std::to_string(own.size()) + " here",
                        "run the same build of fakescore on every rank");
  }
  std::string first;
  for (size_t i = 0; i < digests.size() && first.empty(); ++i) {
    if (std::memcmp(own.data() + i * sizeof(Digest), expected.data() + i * sizeof(Digest),
                    sizeof(Digest)) != 0) {
      first = tensors[i].name;
    }
  }
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
