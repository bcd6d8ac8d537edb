target_sources(fakescore PRIVATE
  comm/launch_env.cpp
  comm/local_communicator.cpp
  comm/make_communicator.cpp
  comm/step.cpp
  comm/store_communicator.cpp
  comm/store_messages.cpp
)

# MPI's headers are for these files alone, so that all others are the same with and without MPI.
if(FAKESCORE_WITH_MPI)
  set(_mpi_sources comm/mpi_census.cpp comm/mpi_communicator.cpp comm/mpi_session.cpp)
  target_sources(fakescore PRIVATE ${_mpi_sources})
  set_source_files_properties(${_mpi_sources} PROPERTIES
    INCLUDE_DIRECTORIES "${MPI_CXX_INCLUDE_DIRS}")
  target_link_libraries(fakescore PRIVATE ${MPI_CXX_LIBRARIES})
else()
  target_sources(fakescore PRIVATE comm/mpi_absent.cpp)
endif()
