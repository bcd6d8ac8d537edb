#pragma once

#include "fakescore/comm/communicator.hpp"
#include "fakescore/tensor/manifest.hpp"

namespace fakescore::detail {

/// Collective. Throws MismatchError on every rank, naming the first entry that differs, both sides
/// and the ranks, unless every rank has root's manifest.
void agree_on_manifest(Communicator& communicator, const Manifest& manifest, int root);

}  // namespace fakescore::detail
