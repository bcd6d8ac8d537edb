fakescore_add_world_test(communicator_test SOURCES world/communicator_test.cpp)
fakescore_add_world_test(sync_module_states_test SOURCES world/sync_module_states_test.cpp)
fakescore_add_world_test(fake_score_meta_test SOURCES world/fake_score_meta_test.cpp
                                                     world/fake_score_values_test.cpp
                                                     world/fake_score_dtypes_test.cpp
                                                     world/teacher_read_test.cpp)
fakescore_add_world_test(random_modules_test
  SOURCES world/random_modules_test.cpp support/checkpoint_plan.cpp support/expected_fake_score.cpp
  LIBRARIES fakescore_plans nlohmann_json::nlohmann_json)

# Threads share their process's memory: this one knows processes only.
fakescore_add_test_executable(memory_test_process
  SOURCES world/memory_test.cpp $<TARGET_OBJECTS:fakescore_process_main>)
if(FAKESCORE_WITH_MPI)
  foreach(ranks 2 4)
    fakescore_add_world_entry(memory_test.mpi.${ranks} ${ranks} mpi "${MPIEXEC_EXECUTABLE}"
      --oversubscribe -n ${ranks} $<TARGET_FILE:memory_test_process>)
  endforeach()
endif()
if(FAKESCORE_TORCHRUN)
  fakescore_add_world_entry(memory_test.torchrun.2 2 torchrun "${FAKESCORE_TORCHRUN}" --standalone
    --no-python --nproc-per-node 2 $<TARGET_FILE:memory_test_process>)
endif()
