fakescore_add_test(error_test SOURCES unit/error_test.cpp LABELS unit)
fakescore_add_test(codec_test
  SOURCES unit/codec_test.cpp ${PROJECT_SOURCE_DIR}/src/comm/step.cpp
          ${PROJECT_SOURCE_DIR}/src/core/error_codec.cpp
  LIBRARIES nlohmann_json::nlohmann_json LABELS unit)
fakescore_add_test(safetensors_test SOURCES unit/safetensors_test.cpp LABELS unit)
fakescore_add_test(teacher_names_test SOURCES unit/teacher_names_test.cpp LABELS unit)
fakescore_add_test(distributed_checkpoint_test
  SOURCES unit/distributed_checkpoint_test.cpp LABELS unit)
set(FAKESCORE_TEACHER_SOURCES ${PROJECT_SOURCE_DIR}/src/core/teacher)
fakescore_add_test(dcp_metadata_test
  SOURCES unit/dcp_metadata_test.cpp ${FAKESCORE_TEACHER_SOURCES}/dcp/dcp_metadata.cpp
          ${FAKESCORE_TEACHER_SOURCES}/file_text.cpp
          ${FAKESCORE_TEACHER_SOURCES}/dcp/key_choice.cpp
          ${FAKESCORE_TEACHER_SOURCES}/dcp/shard_boxes.cpp
          ${FAKESCORE_TEACHER_SOURCES}/dcp/sharded_tensor.cpp
          ${FAKESCORE_TEACHER_SOURCES}/torch_file/torch_globals.cpp
  LABELS unit)
fakescore_add_test(torch_file_test
  SOURCES unit/torch_file_test.cpp unit/hostile_torch_file_test.cpp unit/checkpoint_folder_test.cpp
  LIBRARIES nlohmann_json::nlohmann_json LABELS unit)
fakescore_add_test(store_deadline_test SOURCES unit/store_deadline_test.cpp LABELS unit)
fakescore_add_test(digest_test SOURCES unit/digest_test.cpp LABELS unit)
fakescore_add_test(manifest_test SOURCES unit/manifest_test.cpp LABELS unit)
fakescore_add_test(bucket_plan_test
  SOURCES unit/bucket_plan_test.cpp ${PROJECT_SOURCE_DIR}/src/sync/bucket_plan.cpp
          ${PROJECT_SOURCE_DIR}/src/sync/byte_ranges.cpp
  LABELS unit)
fakescore_add_test(flight_plan_test
  SOURCES unit/flight_plan_test.cpp ${PROJECT_SOURCE_DIR}/src/sync/flight_plan.cpp LABELS unit)
fakescore_add_test(deadline_test SOURCES unit/deadline_test.cpp LABELS unit)
fakescore_add_test(load_plan_test
  SOURCES unit/load_plan_test.cpp ${PROJECT_SOURCE_DIR}/src/factory/load_plan.cpp
          ${PROJECT_SOURCE_DIR}/src/factory/load_plan_codec.cpp
          ${PROJECT_SOURCE_DIR}/src/sync/byte_ranges.cpp
  LIBRARIES nlohmann_json::nlohmann_json LABELS unit)
fakescore_add_test(host_memory_test
  SOURCES unit/host_memory_test.cpp ${PROJECT_SOURCE_DIR}/src/factory/host_memory.cpp LABELS unit)
fakescore_add_test(fake_score_plan_test SOURCES unit/fake_score_plan_test.cpp LABELS unit)
fakescore_add_test(create_fake_score_test SOURCES unit/create_fake_score_test.cpp LABELS unit)
fakescore_add_test(meta_modules_test
  SOURCES unit/meta_modules_test.cpp unit/nn_layer_cases.cpp unit/own_module_cases.cpp LABELS unit)
target_compile_definitions(meta_modules_test PRIVATE FAKESCORE_TORCH_DIR="${FAKESCORE_TORCH_DIR}")
fakescore_add_test(meta_ops_test SOURCES unit/meta_ops_test.cpp LABELS unit)
fakescore_add_test(random_replay_test SOURCES unit/random_replay_test.cpp LIBRARIES fakescore_plans
                   LABELS unit)
add_executable(second_copy_test unit/second_copy_test.cpp)
fakescore_configure_target(second_copy_test)
target_include_directories(second_copy_test PRIVATE ${PROJECT_SOURCE_DIR}/include
                                                    ${PROJECT_SOURCE_DIR}/tests)
target_compile_definitions(second_copy_test PRIVATE FAKESCORE_LIBRARY="$<TARGET_FILE:fakescore>")
target_link_libraries(second_copy_test PRIVATE fakescore::torch GTest::gmock GTest::gtest_main
                                               ${CMAKE_DL_LIBS})
add_dependencies(second_copy_test fakescore)
add_test(NAME second_copy_test COMMAND second_copy_test)
fakescore_test_properties(second_copy_test unit 120)
fakescore_add_test(meta_guard_test SOURCES unit/meta_guard_test.cpp LABELS unit)
fakescore_add_test(checkpoint_module_test SOURCES unit/checkpoint_module_test.cpp LABELS unit)
fakescore_add_test(dit_config_test SOURCES unit/dit_config_test.cpp LABELS unit)
fakescore_add_test(dit_test SOURCES unit/dit_test.cpp LABELS unit)
fakescore_add_test(registry_test SOURCES unit/registry_test.cpp LABELS unit)
if(TARGET fakescore_digits)
  fakescore_add_test(sampler_test SOURCES unit/sampler_test.cpp LABELS unit
                     LIBRARIES fakescore_digits)
endif()
fakescore_add_test(launch_env_test SOURCES unit/launch_env_test.cpp LABELS unit)
