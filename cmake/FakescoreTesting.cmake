# Helpers that register tests. Labels: cpu, or emulated for those on emulated devices; unit, world,
# fault, launcher, install for the kind; slow for what is slow for a good reason.

set(FAKESCORE_TEST_ENVIRONMENT "OMP_NUM_THREADS=1" "OMPI_ALLOW_RUN_AS_ROOT=1" "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
    "ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1"
    "LSAN_OPTIONS=suppressions='${PROJECT_SOURCE_DIR}/tests/support/lsan.supp':print_suppressions=0")

# What every test source is compiled with. Test code is not optimised, which takes a third off its
# compile time; what it tests is.
function(fakescore_configure_test target)
  fakescore_configure_target(${target})
  target_compile_options(${target} PRIVATE -O0)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests
                                               ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(${target} PRIVATE
    FAKESCORE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
    FAKESCORE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endfunction()

# An executable of test code: fakescore_add_test_executable(name SOURCES ... [LIBRARIES ...])
function(fakescore_add_test_executable target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  fakescore_configure_test(${target})
  target_link_libraries(${target} PRIVATE fakescore::fakescore GTest::gmock ${ARG_LIBRARIES})
endfunction()

# A GoogleTest program of many sources, each of which is a ctest entry of its own, named like its
# file, and runs the suites of that file alone. It links what LIBRARIES has (the library's objects,
# for tests of what it hides) or libfakescore.so.
# fakescore_add_test_program(name [LIBRARIES ...]), then fakescore_add_tests for its sources.
function(fakescore_add_test_program program)
  cmake_parse_arguments(ARG "" "" "LIBRARIES" ${ARGN})
  if(NOT ARG_LIBRARIES)
    set(ARG_LIBRARIES fakescore::fakescore)
  endif()
  add_executable(${program})
  fakescore_configure_test(${program})
  target_link_libraries(${program} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
endfunction()

# fakescore_add_tests(program UNIT unit SOURCES ... LABELS ... [TIMEOUT seconds]): the sources are
# compiled as one unit; those without tests are helpers of the others.
function(fakescore_add_tests program)
  cmake_parse_arguments(ARG "" "UNIT;TIMEOUT" "SOURCES;LABELS" ${ARGN})
  fakescore_add_unit(${program} ${ARG_UNIT} ${ARG_SOURCES})
  foreach(source ${ARG_SOURCES})
    if(source MATCHES "_test\\.cpp$")
      get_filename_component(name ${source} NAME_WE)
      fakescore_suites_of(filter ${program} ${source})
      add_test(NAME ${name} COMMAND ${program} --gtest_filter=${filter})
      fakescore_test_properties(${name} "${ARG_LABELS}" "${ARG_TIMEOUT}")
    endif()
  endforeach()
endfunction()

# The --gtest_filter of the suites of some sources. fakescore_check_suites looks for what none has.
function(fakescore_suites_of variable program)
  set(filter "")
  foreach(source ${ARGN})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
    file(READ ${source} text)
    string(REGEX MATCHALL "\nTEST(_F|_P)?\\([A-Za-z0-9_]+" suites "${text}")
    list(TRANSFORM suites REPLACE ".*\\(" "")
    list(REMOVE_DUPLICATES suites)
    if(NOT suites)
      message(FATAL_ERROR "${source} has no test")
    endif()
    foreach(suite ${suites})
      list(APPEND filter ${suite}.* */${suite}.*)
    endforeach()
  endforeach()
  list(JOIN filter ":" filter)
  set_property(GLOBAL APPEND PROPERTY FAKESCORE_SUITES_${program} ${filter})
  set(${variable} ${filter} PARENT_SCOPE)
endfunction()

# Registers the entry PROGRAM.suites, which fails where the program has a test that no entry runs or
# an entry has a test that another has.
function(fakescore_check_suites program label)
  get_property(filters GLOBAL PROPERTY FAKESCORE_SUITES_${program})
  add_test(NAME ${program}.suites
           COMMAND ${PROJECT_SOURCE_DIR}/tests/support/check_suites $<TARGET_FILE:${program}>
                   ${filters})
  fakescore_test_properties(${program}.suites ${label} 60)
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

# The programs of the world tests: threads over local and over a store, and processes under mpirun and
# torchrun, of the same objects. fakescore_add_world_programs(name UNIT unit SOURCES ... [LIBRARIES ...])
function(fakescore_add_world_programs name)
  cmake_parse_arguments(ARG "" "UNIT" "SOURCES;LIBRARIES" ${ARGN})
  add_library(${name}_objects OBJECT)
  fakescore_configure_test(${name}_objects)
  fakescore_add_unit(${name}_objects ${ARG_UNIT} ${ARG_SOURCES})
  target_link_libraries(${name}_objects PUBLIC fakescore::fakescore GTest::gmock ${ARG_LIBRARIES})
  # Objects of what an object library links do not reach a program through it.
  fakescore_add_test_executable(${name}_local SOURCES support/local_main.cpp
                                LIBRARIES ${name}_objects ${ARG_LIBRARIES})
  fakescore_add_test_executable(${name}_process
    SOURCES support/process_main.cpp support/job_rank.cpp LIBRARIES ${name}_objects ${ARG_LIBRARIES})
endfunction()

# Sources of these programs as entries of every world: fakescore_add_world_tests(name SOURCES...).
# Each is named like its file. Under sanitizers, which make all slower, worlds of 2 and of 4 ranks do.
function(fakescore_add_world_tests program)
  set(world_sizes 1 2 3 4)
  if(FAKESCORE_SANITIZE)
    set(world_sizes 2 4)
  endif()
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    fakescore_suites_of(filter ${program}_local ${source})
    foreach(ranks ${world_sizes})
      fakescore_add_world_entry(${name}.local.${ranks} ${ranks} local
        $<TARGET_FILE:${program}_local> --gtest_filter=${filter})
      if(NOT ranks EQUAL 3)
        fakescore_add_world_entry(${name}.store.${ranks} ${ranks} store
          $<TARGET_FILE:${program}_local> --gtest_filter=${filter})
      endif()
      if(ranks GREATER 1)
        fakescore_add_world_entry(${name}.shared.${ranks} ${ranks} shared
          $<TARGET_FILE:${program}_local> --gtest_filter=${filter})
      endif()
    endforeach()
    fakescore_add_process_entries(${name} ${program} "${world_sizes}" ${filter})
  endforeach()
endfunction()

# The entries under mpirun, with each number of ranks, and under torchrun.
function(fakescore_add_process_entries name program world_sizes filter)
  if(FAKESCORE_WITH_MPI)
    foreach(ranks ${world_sizes})
      fakescore_add_world_entry(${name}.mpi.${ranks} ${ranks} mpi "${MPIEXEC_EXECUTABLE}"
        --oversubscribe -n ${ranks} $<TARGET_FILE:${program}_process> --gtest_filter=${filter})
    endforeach()
  endif()
  if(FAKESCORE_TEST_TORCHRUN)
    fakescore_add_world_entry(${name}.torchrun.2 2 torchrun "${FAKESCORE_TORCHRUN}" --standalone
      --no-python --nproc-per-node 2 $<TARGET_FILE:${program}_process> --gtest_filter=${filter})
  endif()
endfunction()

function(fakescore_add_world_entry test ranks backend)
  add_test(NAME ${test} COMMAND ${ARGN})
  fakescore_test_properties(${test} world 300)
  set_property(TEST ${test} PROPERTY PROCESSORS 2)
  set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT FAKESCORE_TEST_RANKS=${ranks}
                                                        FAKESCORE_TEST_BACKEND=${backend})
  if(backend STREQUAL mpi)
    fakescore_choose_leaks_over_mpi(${test} ${ranks})
  endif()
endfunction()

# Open MPI's plugins are unloaded when leaks are looked for: only the frames below them, in a whole
# stack, then tell whose a leak is.
function(fakescore_unwind_for_mpi test)
  set_property(TEST ${test} PROPERTY
               ENVIRONMENT_MODIFICATION ASAN_OPTIONS=string_append::fast_unwind_on_malloc=0)
endfunction()

# Whole stacks cost each rank some 8 s: of the entries under mpirun those of two ranks look for leaks.
function(fakescore_choose_leaks_over_mpi test ranks)
  if(ranks EQUAL 2)
    fakescore_unwind_for_mpi(${test})
  else()
    fakescore_ignore_leaks(${test})
  endif()
endfunction()

function(fakescore_ignore_leaks test)
  set_property(TEST ${test} PROPERTY
               ENVIRONMENT_MODIFICATION ASAN_OPTIONS=string_append::detect_leaks=0)
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
