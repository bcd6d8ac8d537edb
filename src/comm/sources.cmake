fakescore_add_unit(fakescore_objects comm
  comm/agreement.cpp
  comm/communicator.cpp
  comm/controlled_communicator.cpp
  comm/heartbeat.cpp
  comm/local_communicator.cpp
  comm/make_communicator.cpp
  comm/meeting.cpp
  comm/plain_socket.cpp
  comm/process_group_communicator.cpp
  comm/run_agreed.cpp
  comm/side_thread.cpp
  comm/staged_communicator.cpp
  comm/step.cpp
  comm/store_broadcast.cpp
  comm/store_census.cpp
  comm/store_communicator.cpp
  comm/store_door.cpp
  comm/store_frame.cpp
  comm/store_meeting.cpp
  comm/store_work.cpp)
fakescore_add_unit(fakescore_objects comm_launch
  comm/launch/job_port.cpp
  comm/launch/launch_claim.cpp
  comm/launch/launch_env.cpp
  comm/launch/launch_variables.cpp
  comm/launch/mpi_launchers.cpp
  comm/launch/slurm.cpp
  comm/launch/slurm_nodes.cpp
  comm/launch/torchrun.cpp)
if(FAKESCORE_WITH_MPI)
  fakescore_add_unit(fakescore_mpi_objects comm_mpi
    comm/mpi_communicator.cpp
    comm/mpi_meeting.cpp
    comm/mpi_session.cpp
    comm/mpi_start.cpp
    comm/mpi_work.cpp)
else()
  target_sources(fakescore_objects PRIVATE comm/mpi_stub.cpp)
endif()
if(FAKESCORE_HAVE_CUDA)
  fakescore_add_unit(fakescore_cuda_objects comm_nccl
    comm/nccl/adopt_nccl.cpp
    comm/nccl/nccl_communicator.cpp
    comm/nccl/nccl_link.cpp
    comm/nccl/nccl_setup.cpp
    comm/nccl/nccl_watch.cpp)
else()
  target_sources(fakescore_objects PRIVATE comm/nccl/no_nccl.cpp)
endif()
