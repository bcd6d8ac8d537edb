fakescore_add_test_executable(meta_fault_rank SOURCES fault/meta_fault_rank.cpp)
target_include_directories(meta_fault_rank PRIVATE ${PROJECT_SOURCE_DIR}/tests/emulation)
fakescore_add_test_executable(meta_fault_test
  SOURCES fault/meta_fault_test.cpp support/process_group.cpp LIBRARIES GTest::gtest_main)
target_compile_definitions(meta_fault_test PRIVATE
  META_FAULT_RANK="$<TARGET_FILE:meta_fault_rank>")
fakescore_define_launchers(meta_fault_test)
add_dependencies(meta_fault_test meta_fault_rank)
add_test(NAME meta_fault_test COMMAND meta_fault_test)
fakescore_test_properties(meta_fault_test "fault;slow" 900)
# Deadlines of seconds: nothing else may take the cores meanwhile.
set_tests_properties(meta_fault_test PROPERTIES PROCESSORS 2)

fakescore_add_test_executable(suspended_rank SOURCES fault/suspended_rank.cpp)
fakescore_add_test_executable(suspended_job_test
  SOURCES fault/suspended_job_test.cpp support/process_group.cpp LIBRARIES GTest::gtest_main)
target_compile_definitions(suspended_job_test PRIVATE
  SUSPENDED_RANK="$<TARGET_FILE:suspended_rank>")
fakescore_define_launchers(suspended_job_test)
add_dependencies(suspended_job_test suspended_rank)
add_test(NAME suspended_job_test COMMAND suspended_job_test)
fakescore_test_properties(suspended_job_test fault 300)

fakescore_add_test_executable(live_storages_test SOURCES fault/live_storages_test.cpp)
add_test(NAME live_storages_test COMMAND live_storages_test)
fakescore_test_properties(live_storages_test unit 60)
