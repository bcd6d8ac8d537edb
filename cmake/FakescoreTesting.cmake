# Helpers that register tests. Labels: cpu, or emulated for those on emulated devices; unit, world,
# fault, launcher, install for the kind; slow for what is slow for a good reason.

set(FAKESCORE_TEST_ENVIRONMENT "OMP_NUM_THREADS=1" "OMPI_ALLOW_RUN_AS_ROOT=1" "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
    "ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1"
    "LSAN_OPTIONS=suppressions='${PROJECT_SOURCE_DIR}/tests/support/lsan.supp':print_suppressions=0")

# A test executable: fakescore_add_test_executable(name SOURCES ... [LIBRARIES ...])
function(fakescore_add_test_executable target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  fakescore_configure_target(${target})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests
                                               ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(${target} PRIVATE
    FAKESCORE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
    FAKESCORE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
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

option(FAKESCORE_TEST_TORCHRUN "run tests under torchrun too" ON)
if(FAKESCORE_TEST_TORCHRUN)
  get_filename_component(FAKESCORE_VENV_BIN "${FAKESCORE_TORCH_DIR}/../../../../bin" ABSOLUTE)
  find_program(FAKESCORE_TORCHRUN torchrun HINTS "${FAKESCORE_VENV_BIN}")
  if(NOT FAKESCORE_TORCHRUN)
    message(FATAL_ERROR "torchrun was not found beside LibTorch or on PATH: set FAKESCORE_TORCHRUN "
                        "to it, or leave its tests out with -DFAKESCORE_TEST_TORCHRUN=OFF")
  endif()
endif()

# Tells a test that starts jobs itself where the launchers are; one without them has no definition.
function(fakescore_define_launchers target)
  if(FAKESCORE_WITH_MPI)
    target_compile_definitions(${target} PRIVATE FAKESCORE_TEST_MPIEXEC="${MPIEXEC_EXECUTABLE}")
  endif()
  if(FAKESCORE_TEST_TORCHRUN)
    target_compile_definitions(${target} PRIVATE FAKESCORE_TEST_TORCHRUN="${FAKESCORE_TORCHRUN}")
  endif()
endfunction()

# One test source in every world: threads over local and over a store, processes under mpirun and
# torchrun. fakescore_add_world_test(name SOURCES ... [LIBRARIES ...])
function(fakescore_add_world_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_library(${name}_objects OBJECT ${ARG_SOURCES})
  fakescore_configure_target(${name}_objects)
  target_include_directories(${name}_objects PRIVATE ${PROJECT_SOURCE_DIR}/tests
                                                     ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(${name}_objects PRIVATE
    FAKESCORE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
    FAKESCORE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name}_objects PRIVATE fakescore::fakescore GTest::gmock ${ARG_LIBRARIES})
  target_precompile_headers(${name}_objects REUSE_FROM fakescore_test_pch)
  foreach(kind local process)
    if(NOT TARGET fakescore_${kind}_main)
      add_library(fakescore_${kind}_main OBJECT ${PROJECT_SOURCE_DIR}/tests/support/${kind}_main.cpp)
      if(kind STREQUAL process)
        target_sources(fakescore_process_main PRIVATE
                       ${PROJECT_SOURCE_DIR}/tests/support/job_rank.cpp)
      endif()
      fakescore_configure_target(fakescore_${kind}_main)
      target_include_directories(fakescore_${kind}_main PRIVATE ${PROJECT_SOURCE_DIR}/tests
                                                                ${PROJECT_SOURCE_DIR}/src)
      target_link_libraries(fakescore_${kind}_main PRIVATE fakescore::fakescore GTest::gmock)
      target_precompile_headers(fakescore_${kind}_main REUSE_FROM fakescore_test_pch)
    endif()
    add_executable(${name}_${kind} $<TARGET_OBJECTS:${name}_objects>
                                   $<TARGET_OBJECTS:fakescore_${kind}_main>)
    set_target_properties(${name}_${kind} PROPERTIES LINKER_LANGUAGE CXX)
    target_link_libraries(${name}_${kind} PRIVATE fakescore::fakescore GTest::gmock
                                                  ${ARG_LIBRARIES})
    if(FAKESCORE_SANITIZE)
      target_link_options(${name}_${kind} PRIVATE -fsanitize=${FAKESCORE_SANITIZE})
    endif()
  endforeach()
  foreach(ranks 1 2 3 4)
    fakescore_add_world_entry(${name}.local.${ranks} ${ranks} local $<TARGET_FILE:${name}_local>)
    if(NOT ranks EQUAL 3)
      fakescore_add_world_entry(${name}.store.${ranks} ${ranks} store $<TARGET_FILE:${name}_local>)
    endif()
    if(FAKESCORE_WITH_MPI)
      fakescore_add_world_entry(${name}.mpi.${ranks} ${ranks} mpi "${MPIEXEC_EXECUTABLE}"
        --oversubscribe -n ${ranks} $<TARGET_FILE:${name}_process>)
    endif()
  endforeach()
  if(FAKESCORE_TEST_TORCHRUN)
    fakescore_add_world_entry(${name}.torchrun.2 2 torchrun "${FAKESCORE_TORCHRUN}" --standalone
      --no-python --nproc-per-node 2 $<TARGET_FILE:${name}_process>)
  endif()
endfunction()

function(fakescore_add_world_entry test ranks backend)
  add_test(NAME ${test} COMMAND ${ARGN})
  fakescore_test_properties(${test} world 300)
  set_property(TEST ${test} PROPERTY PROCESSORS 2)
  set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT FAKESCORE_TEST_RANKS=${ranks}
                                                        FAKESCORE_TEST_BACKEND=${backend})
  if(backend STREQUAL mpi)
    fakescore_unwind_for_mpi(${test})
  endif()
endfunction()

# Open MPI's plugins are unloaded when leaks are looked for: only the frames below them, in a whole
# stack, then tell whose a leak is.
function(fakescore_unwind_for_mpi test)
  set_property(TEST ${test} PROPERTY
               ENVIRONMENT_MODIFICATION ASAN_OPTIONS=string_append::fast_unwind_on_malloc=0)
endfunction()

# Makes a registered test run on emulated CUDA devices (tests/emulation), with the label emulated in
# place of cpu. fakescore_emulated_test(test [WITHOUT_TORCH] [LABELS ...] [TIMEOUT seconds])
function(fakescore_emulated_test test)
  cmake_parse_arguments(ARG "WITHOUT_TORCH" "TIMEOUT" "LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${test} PROPERTIES LABELS "emulated;${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
                       ENVIRONMENT "${FAKESCORE_TEST_ENVIRONMENT}")
  if(ARG_WITHOUT_TORCH)
    fakescore_emulated_environment(${test} WITHOUT_TORCH)
  else()
    fakescore_emulated_environment(${test})
  endif()
endfunction()

# The variables alone. What a test's own processes start inherits them. WITHOUT_TORCH spares programs
# that do not use LibTorch the second that it takes to load.
function(fakescore_emulated_environment test)
  cmake_parse_arguments(ARG "WITHOUT_TORCH" "" "" ${ARGN})
  fakescore_emulation_preload(preload)
  if(ARG_WITHOUT_TORCH)
    string(REPLACE :$<TARGET_FILE:fakescore_emulated_ops> "" preload ${preload})
  endif()
  set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT
               LD_PRELOAD=${preload} FAKESCORE_EMULATION_DEVICES=4)
endfunction()

# What LD_PRELOAD must hold, as a generator expression.
function(fakescore_emulation_preload variable)
  set(preload $<TARGET_FILE:fakescore_emulation>:$<TARGET_FILE:fakescore_emulated_ops>)
  string(APPEND preload :$<TARGET_FILE:fakescore_emulated_kernels>)
  if(FAKESCORE_SANITIZE MATCHES "address")
    # The sanitizer insists on being the first library.
    execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libasan.so
                    OUTPUT_VARIABLE asan OUTPUT_STRIP_TRAILING_WHITESPACE)
    string(PREPEND preload ${asan}:)
  endif()
  set(${variable} ${preload} PARENT_SCOPE)
endfunction()
