# The program under a real Slurm of one node, which is started for this entry. Skipped, with the reason,
# where Slurm is not installed; FAKESCORE_REQUIRE_SLURM=1 in the environment makes that an error.
if(NOT FAKESCORE_BUILD_TOOLS)
  return()
endif()
add_executable(slurm_test slurm/slurm_job.cpp slurm/slurm_test.cpp support/shell.cpp)
fakescore_configure_test(slurm_test)
fakescore_define_launchers(slurm_test)
target_compile_definitions(slurm_test PRIVATE FAKESCORE_PROGRAM="$<TARGET_FILE:fakescore_program>")
target_link_libraries(slurm_test PRIVATE nlohmann_json::nlohmann_json GTest::gmock
                                         GTest::gtest_main)
add_dependencies(slurm_test fakescore_program)
add_test(NAME slurm_test
         COMMAND ${PROJECT_SOURCE_DIR}/tests/slurm/with_cluster $<TARGET_FILE:slurm_test>)
fakescore_test_properties(slurm_test slurm 900)
set_tests_properties(slurm_test PROPERTIES SKIP_RETURN_CODE 77 PROCESSORS 2)
fakescore_ignore_leaks(slurm_test)
