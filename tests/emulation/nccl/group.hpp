#pragma once

namespace fakescore::emulation {

/// Whether the calling thread is between ncclGroupStart and ncclGroupEnd.
bool is_in_group();

}  // namespace fakescore::emulation
