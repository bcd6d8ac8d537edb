#pragma once

namespace fakescore::detail {

/// Makes sure that MPI is initialised. Where this is who initialised it, MPI is finalised when the
/// process exits. Throws ConfigError where MPI has been finalised.
void ensure_mpi();

/// After a peer is lost MPI_Finalize would wait for it for ever: it is not called any more.
void never_finalize_mpi() noexcept;

}  // namespace fakescore::detail
