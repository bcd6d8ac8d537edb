#include "comm/control/mpi_start.hpp"

#include <mpi.h>

#include <cstdlib>
#include <string_view>

#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

#ifdef OPEN_MPI
constexpr bool kIsOpenMpi = true;
#else
constexpr bool kIsOpenMpi = false;
#endif

bool is_of_pmi_component(int control_variable) {
  char name[MPI_MAX_OBJECT_NAME] = {};
  int name_size = sizeof(name);
  char description[1] = {};
  int description_size = sizeof(description);
  int verbosity = 0;
  int bind = 0;
  int scope = 0;
  MPI_Datatype type = MPI_DATATYPE_NULL;
  MPI_T_enum values = MPI_T_ENUM_NULL;
  if (MPI_T_cvar_get_info(control_variable, name, &name_size, &verbosity, &type, &values,
                          description, &description_size, &bind, &scope) != MPI_SUCCESS) {
    return false;
  }
  const std::string_view text(name);
  return text.rfind("pmix_s1_", 0) == 0 || text.rfind("pmix_s2_", 0) == 0;
}

/// Open MPI's components for PMI 1 and 2 have control variables that are named after them. Unlike
/// MPI_Init, MPI's tool interface ends no process.
bool has_pmi_component() {
  int provided = 0;
  if (MPI_T_init_thread(MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) return false;
  int count = 0;
  MPI_T_cvar_get_num(&count);
  bool found = false;
  for (int i = 0; i < count && !found; ++i) found = is_of_pmi_component(i);
  MPI_T_finalize();
  return found;
}

bool variable_is_set(const char* name) { return std::getenv(name) != nullptr; }

}  // namespace

bool mpi_starts_by_pmi() noexcept { return !kIsOpenMpi || has_pmi_component(); }

void check_that_srun_started_mpi() {
  // What Open MPI itself goes by. mpirun gives its ranks PMIX_RANK too.
  if (!kIsOpenMpi || !variable_is_set("SLURM_STEP_ID") || variable_is_set("PMIX_RANK")) return;
  if (variable_is_set("PMI_RANK") && mpi_starts_by_pmi()) return;
  throw ConfigError("Open MPI", "cannot be started here: srun started this process without PMIx",
                    "pass --mpi=pmix to srun, use mpirun, or set FAKESCORE_LAUNCHER=slurm to go "
                    "without MPI");
}

}  // namespace fakescore::detail
