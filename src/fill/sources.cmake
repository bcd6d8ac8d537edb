fakescore_add_unit(fakescore_objects fill
  fill/broadcast_teacher_tensors.cpp
  fill/cast_tensors.cpp
  fill/check_options.cpp
  fill/cut_routes.cpp
  fill/described_target.cpp
  fill/device_memory.cpp
  fill/dry_run.cpp
  fill/dtype_choice.cpp
  fill/fill_context.cpp
  fill/fill_plan.cpp
  fill/fill_plan_codec.cpp
  fill/fill_tensors.cpp
  fill/gather_report.cpp
  fill/given_memory.cpp
  fill/group_transfers.cpp
  fill/host_memory.cpp
  fill/manifest_agreement.cpp
  fill/match_keys.cpp
  fill/move_phase.cpp
  fill/place_phase.cpp
  fill/plan_phase.cpp
  fill/read_agreement.cpp
  fill/readers.cpp
  fill/replay_phase.cpp
  fill/replay_tape.cpp
  fill/send_transfers.cpp
  fill/shards.cpp
  fill/storages.cpp
  fill/sync_tensors.cpp
  fill/teacher_read.cpp)
if(FAKESCORE_TORCH_HAS_DEVICE_ALLOCATOR)
  set_source_files_properties(fill/device_memory.cpp PROPERTIES
    COMPILE_DEFINITIONS FAKESCORE_TORCH_HAS_DEVICE_ALLOCATOR)
endif()
