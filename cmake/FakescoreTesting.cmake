# Helpers that register tests. Labels: cpu for all of them; unit, world, fault, launcher, install
# for the kind; slow for what is slow for a good reason.

set(FAKESCORE_TEST_ENVIRONMENT "OMP_NUM_THREADS=1" "ASAN_OPTIONS=detect_leaks=1"
    "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/support/lsan.supp:print_suppressions=0")

# A test executable: fakescore_add_test_executable(name SOURCES ... [LIBRARIES ...])
function(fakescore_add_test_executable target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  fakescore_configure_target(${target})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests
                                               ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(${target} PRIVATE
    FAKESCORE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
    FAKESCORE_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    FAKESCORE_BINARY_DIR="${PROJECT_BINARY_DIR}")
  target_link_libraries(${target} PRIVATE fakescore::fakescore GTest::gmock ${ARG_LIBRARIES})
  target_precompile_headers(${target} REUSE_FROM fakescore_test_pch)
endfunction()

# A plain GoogleTest executable as one ctest entry.
function(fakescore_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  fakescore_add_test_executable(${name} SOURCES ${ARG_SOURCES}
                                LIBRARIES GTest::gtest_main ${ARG_LIBRARIES})
  add_test(NAME ${name} COMMAND ${name})
  fakescore_test_properties(${name} "${ARG_LABELS}" "${ARG_TIMEOUT}")
endfunction()

function(fakescore_test_properties name labels timeout)
  if(NOT timeout)
    set(timeout 120)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "cpu;${labels}" TIMEOUT ${timeout}
                       ENVIRONMENT "${FAKESCORE_TEST_ENVIRONMENT}")
endfunction()
