# Tests of whole jobs, in every kind of world.
set(FAKESCORE_WORLD_TESTS
  world/communicator_test.cpp
  world/fake_score_dtypes_test.cpp
  world/fake_score_meta_test.cpp
  world/fake_score_values_test.cpp
  world/fill_shards_test.cpp
  world/fill_tensors_test.cpp
  world/flattened_shards_test.cpp
  world/random_modules_test.cpp
  world/sync_module_states_test.cpp
  world/teacher_read_test.cpp)
fakescore_add_world_programs(world_test UNIT world
  SOURCES ${FAKESCORE_WORLD_TESTS} world/memory_test.cpp support/checkpoint_plan.cpp
          support/expected_fake_score.cpp
  LIBRARIES fakescore_plans nlohmann_json::nlohmann_json)
fakescore_add_world_tests(world_test ${FAKESCORE_WORLD_TESTS})

# Threads share their process's memory: this one knows processes only.
fakescore_suites_of(memory_suites world_test_local world/memory_test.cpp)
fakescore_add_process_entries(memory_test world_test "2;4" ${memory_suites})
fakescore_check_suites(world_test_local world)
