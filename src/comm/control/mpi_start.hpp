#pragma once

namespace fakescore::detail {

/// Whether MPI_Init can join its peers by PMI's variables alone, as those of srun --mpi=pmi2. Open
/// MPI is mostly built for PMIx only. false in a build without MPI.
bool mpi_starts_by_pmi() noexcept;

/// Throws ConfigError where Open MPI would end the process inside MPI_Init: srun started it without
/// a PMI that Open MPI speaks. For builds with MPI.
void check_that_srun_started_mpi();

}  // namespace fakescore::detail
