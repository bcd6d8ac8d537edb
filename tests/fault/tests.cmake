# Jobs that lose ranks. They wait for the most part, with deadlines of seconds: one core is enough for
# each, but no test that takes all may run beside them. First, for some take minutes.
if(FAKESCORE_SANITIZE)
  return()  # deadlines are of the speed of other builds
endif()
fakescore_add_test_executable(meta_fault_rank SOURCES fault/meta_fault_rank.cpp)
target_include_directories(meta_fault_rank PRIVATE ${PROJECT_SOURCE_DIR}/tests/emulation)
fakescore_add_test_executable(suspended_rank SOURCES fault/suspended_rank.cpp)
fakescore_add_test_executable(busy_rank SOURCES fault/busy_rank.cpp)
if(FAKESCORE_WITH_MPI)
  target_compile_definitions(busy_rank PRIVATE FAKESCORE_TEST_WITH_MPI OMPI_SKIP_MPICXX
                                               MPICH_SKIP_MPICXX)
  target_link_libraries(busy_rank PRIVATE MPI::MPI_CXX)
endif()

# fakescore_add_fault_test(name SOURCE RANK_PROGRAMS...): it starts the ranks itself.
function(fakescore_add_fault_test name source)
  fakescore_add_test_executable(${name} SOURCES ${source} support/process_group.cpp
                                LIBRARIES GTest::gtest_main)
  foreach(program ${ARGN})
    string(TOUPPER ${program} definition)
    target_compile_definitions(${name} PRIVATE ${definition}="$<TARGET_FILE:${program}>")
  endforeach()
  fakescore_define_launchers(${name})
  add_dependencies(${name} ${ARGN})
  add_test(NAME ${name} COMMAND ${name})
  fakescore_test_properties(${name} "fault;slow" 900)
  set_tests_properties(${name} PROPERTIES COST 100)
endfunction()
fakescore_add_fault_test(meta_fault_test fault/meta_fault_test.cpp meta_fault_rank)
fakescore_add_fault_test(busy_rank_test fault/busy_rank_test.cpp busy_rank)
fakescore_add_fault_test(suspended_job_test fault/suspended_job_test.cpp suspended_rank)
