fakescore_add_unit(fakescore_objects comm
  comm/communicator.cpp
  comm/host.cpp
  comm/make_communicator.cpp
  comm/words.cpp)
fakescore_add_unit(fakescore_objects comm_control
  comm/control/agreement.cpp
  comm/control/census.cpp
  comm/control/control_plane.cpp
  comm/control/heartbeat.cpp
  comm/control/local_planes.cpp
  comm/control/meeting.cpp
  comm/control/plain_socket.cpp
  comm/control/run_agreed.cpp
  comm/control/side_thread.cpp
  comm/control/step.cpp
  comm/control/store_broadcast.cpp
  comm/control/store_census.cpp
  comm/control/store_door.cpp
  comm/control/store_exchange.cpp
  comm/control/store_frame.cpp
  comm/control/store_meeting.cpp
  comm/control/store_planes.cpp
  comm/control/store_work.cpp)
fakescore_add_unit(fakescore_objects comm_bulk
  comm/bulk/bulk_plane.cpp
  comm/bulk/collect.cpp
  comm/bulk/controlled_plane.cpp
  comm/bulk/process_group_plane.cpp
  comm/bulk/shared_memory/peer_process.cpp
  comm/bulk/shared_memory/segment_layout.cpp
  comm/bulk/shared_memory/share_host_memory.cpp
  comm/bulk/shared_memory/shared_memory_plane.cpp
  comm/bulk/shared_memory/shared_ring.cpp
  comm/bulk/shared_memory/shared_segment.cpp
  comm/bulk/shared_memory/shared_stream.cpp
  comm/bulk/staged_plane.cpp)
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
    comm/control/mpi_meeting.cpp
    comm/control/mpi_planes.cpp
    comm/control/mpi_session.cpp
    comm/control/mpi_start.cpp
    comm/control/mpi_work.cpp)
else()
  target_sources(fakescore_objects PRIVATE comm/control/mpi_stub.cpp)
endif()
if(FAKESCORE_HAVE_CUDA)
  fakescore_add_unit(fakescore_cuda_objects comm_nccl
    comm/bulk/nccl/adopt_nccl.cpp
    comm/bulk/nccl/nccl_link.cpp
    comm/bulk/nccl/nccl_plane.cpp
    comm/bulk/nccl/nccl_setup.cpp
    comm/bulk/nccl/nccl_watch.cpp)
else()
  target_sources(fakescore_objects PRIVATE comm/bulk/nccl/no_nccl.cpp)
endif()
