target_sources(fakescore PRIVATE
  comm/communicator.cpp
  comm/controlled_communicator.cpp
  comm/launch_env.cpp
  comm/local_communicator.cpp
  comm/make_communicator.cpp
  comm/process_group_communicator.cpp
  comm/side_thread.cpp
  comm/staged_communicator.cpp
  comm/step.cpp
  comm/store_communicator.cpp
  comm/store_frame.cpp
)
if(FAKESCORE_WITH_MPI)
  set(FAKESCORE_MPI_SOURCES comm/mpi_communicator.cpp comm/mpi_session.cpp)
  target_sources(fakescore PRIVATE ${FAKESCORE_MPI_SOURCES})
  # Only these files see MPI's include path, so that every other object is the same without MPI.
  set_source_files_properties(${FAKESCORE_MPI_SOURCES} PROPERTIES
    INCLUDE_DIRECTORIES "${MPI_CXX_INCLUDE_DIRS}"
    COMPILE_DEFINITIONS "OMPI_SKIP_MPICXX;MPICH_SKIP_MPICXX")
  target_link_libraries(fakescore PRIVATE $<LINK_ONLY:MPI::MPI_CXX>)
else()
  target_sources(fakescore PRIVATE comm/mpi_stub.cpp)
endif()
if(FAKESCORE_HAVE_CUDA)
  target_sources(fakescore PRIVATE
    comm/nccl/adopt_nccl.cpp
    comm/nccl/nccl_communicator.cpp
    comm/nccl/nccl_link.cpp
    comm/nccl/nccl_setup.cpp
    comm/nccl/nccl_watch.cpp
  )
else()
  target_sources(fakescore PRIVATE comm/nccl/no_nccl.cpp)
endif()
