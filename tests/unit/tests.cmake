# Tests of functions and classes, those that the library hides included.
fakescore_add_test_program(unit_test
  LIBRARIES ${FAKESCORE_OBJECT_LIBRARIES} fakescore_plans nlohmann_json::nlohmann_json)
target_compile_definitions(unit_test PRIVATE FAKESCORE_TORCH_DIR="${FAKESCORE_TORCH_DIR}")

fakescore_add_tests(unit_test UNIT core LABELS unit SOURCES
  unit/bucket_plan_test.cpp
  unit/census_test.cpp
  unit/codec_test.cpp
  unit/communicator_faults_test.cpp
  unit/cut_routes_test.cpp
  unit/cut_test.cpp
  unit/deadline_test.cpp
  unit/digest_test.cpp
  unit/error_test.cpp
  unit/flight_plan_test.cpp
  unit/host_memory_test.cpp
  unit/match_keys_test.cpp
  unit/manifest_test.cpp
  unit/pass_on_test.cpp
  unit/planes_test.cpp
  unit/predict_test.cpp
  unit/printable_test.cpp
  unit/shared_memory_test.cpp
  unit/side_thread_test.cpp
  unit/store_deadline_test.cpp
  unit/traffic_test.cpp
  unit/whole_file_test.cpp)
fakescore_add_tests(unit_test UNIT launch LABELS unit SOURCES
  unit/launch_conflict_test.cpp
  unit/launch_env_test.cpp
  unit/launch_malformed_test.cpp
  unit/launch_override_test.cpp
  unit/launch_slurm_test.cpp)
fakescore_add_tests(unit_test UNIT teacher LABELS unit SOURCES
  unit/ambiguous_folder_test.cpp
  unit/checkpoint_folder_test.cpp
  unit/dcp_metadata_test.cpp
  unit/distributed_checkpoint_test.cpp
  unit/foreign_file_test.cpp
  unit/hostile_torch_file_test.cpp
  unit/pickle_cost_test.cpp
  unit/safetensors_test.cpp
  unit/stored_tensor_test.cpp
  unit/teacher_names_test.cpp
  unit/torch_file_test.cpp
  unit/torch_objects_test.cpp)
fakescore_add_tests(unit_test UNIT factory LABELS unit SOURCES
  unit/checkpoint_module_test.cpp
  unit/create_fake_score_test.cpp
  unit/dit_config_test.cpp
  unit/dit_test.cpp
  unit/fake_score_plan_test.cpp
  unit/registry_test.cpp)
fakescore_add_tests(unit_test UNIT meta LABELS unit SOURCES
  unit/meta_guard_test.cpp
  unit/meta_modules_test.cpp
  unit/meta_ops_test.cpp
  unit/nn_layer_cases.cpp
  unit/own_module_cases.cpp
  unit/random_replay_test.cpp)
fakescore_check_suites(unit_test unit)
# It asks Open MPI how it was started.
fakescore_unwind_for_mpi(launch_conflict_test)

add_executable(second_copy_test unit/second_copy_test.cpp)
fakescore_configure_test(second_copy_test)
target_include_directories(second_copy_test PRIVATE ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(second_copy_test PRIVATE FAKESCORE_LIBRARY="$<TARGET_FILE:fakescore>")
target_link_libraries(second_copy_test PRIVATE fakescore::torch GTest::gmock GTest::gtest_main
                                               ${CMAKE_DL_LIBS})
add_dependencies(second_copy_test fakescore)
add_test(NAME second_copy_test COMMAND second_copy_test)
fakescore_test_properties(second_copy_test unit 120)

# It replaces the allocator of its whole process.
fakescore_add_test_executable(live_storages_test SOURCES unit/live_storages_test.cpp)
add_test(NAME live_storages_test COMMAND live_storages_test)
fakescore_test_properties(live_storages_test unit 60)
