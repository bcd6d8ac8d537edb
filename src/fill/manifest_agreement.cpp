#include "fill/manifest_agreement.hpp"

#include <optional>
#include <string>
#include <vector>

#include "comm/words.hpp"
#include "error/wire.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

/// What one rank reports of the first entry in which it differs from root.
struct Difference {
  size_t index = 0;
  std::string here;
};

std::string encode(const std::optional<Difference>& difference) {
  return difference ? to_wire(difference->index, difference->here) : "";
}

std::optional<Difference> decode_difference(const std::string& bytes) {
  if (bytes.empty()) return std::nullopt;
  auto [index, here] = from_wire<size_t, std::string>(bytes, "another rank's difference");
  return Difference{index, std::move(here)};
}

[[noreturn]] void throw_first_difference(const std::vector<std::string>& reports,
                                         const Manifest& root_manifest, int root) {
  std::optional<Difference> first;
  std::vector<int> ranks;
  for (size_t rank = 0; rank < reports.size(); ++rank) {
    const auto difference = decode_difference(reports[rank]);
    if (!difference) continue;
    if (!first || difference->index < first->index) {
      first = difference;
      ranks.clear();
    }
    if (difference->index == first->index && difference->here == first->here) {
      ranks.push_back(static_cast<int>(rank));
    }
  }
  throw_error({ErrorCode::kMismatch, ranks.front(), "agree",
               "entry " + std::to_string(first->index) + " of the module",
               name_ranks(ranks) + (ranks.size() == 1 ? " has " : " have ") + first->here +
                   ", but root rank " + std::to_string(root) + " has " +
                   root_manifest.describe(first->index),
               "build the same module on every rank: same configuration, same order, same dtype"});
}

}  // namespace

void agree_on_manifest(Communicator& communicator, const Manifest& manifest, int root) {
  if (communicator.compare(to_string(manifest.digest()), "agree").is_same()) return;
  // Once, for the error: which ranks differ, and in what.
  const Manifest root_manifest =
      Manifest::deserialize(communicator.broadcast_message(manifest.serialize(), root, "agree"));
  std::optional<Difference> difference;
  if (const auto index = Manifest::first_difference(manifest, root_manifest)) {
    difference = Difference{*index, manifest.describe(*index)};
  }
  throw_first_difference(communicator.all_gather(encode(difference), "agree"), root_manifest, root);
}

}  // namespace fakescore::detail
