add_test(NAME setup_test
         COMMAND ${PROJECT_SOURCE_DIR}/tests/launcher/setup_test.sh ${PROJECT_SOURCE_DIR})
fakescore_test_properties(setup_test launcher 60)
if(NOT FAKESCORE_BUILD_TOOLS)
  return()
endif()
add_test(NAME entrypoint_test COMMAND ${PROJECT_SOURCE_DIR}/tests/launcher/entrypoint_test.sh
         ${PROJECT_SOURCE_DIR}/docker/entrypoint.sh $<TARGET_FILE:fakescore_program>)
fakescore_test_properties(entrypoint_test launcher 60)

# Tests of the program, the examples and the benchmarks, which they start, and of the program's parts.
fakescore_add_test_program(launcher_test LIBRARIES fakescore_program_objects)
fakescore_define_launchers(launcher_test)
target_include_directories(launcher_test PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(launcher_test PRIVATE
  FAKESCORE_PROGRAM="$<TARGET_FILE:fakescore_program>" FAKESCORE_VERSION="${PROJECT_VERSION}")
if(FAKESCORE_SANITIZE)
  target_compile_definitions(launcher_test PRIVATE FAKESCORE_SANITIZED)
endif()
add_library(slow_resolver MODULE launcher/slow_resolver.cpp)
target_compile_features(slow_resolver PRIVATE cxx_std_20)
target_compile_definitions(launcher_test PRIVATE
  FAKESCORE_SLOW_RESOLVER="$<TARGET_FILE:slow_resolver>")
add_dependencies(launcher_test fakescore_program slow_resolver)

# fakescore_add_launcher_tests(UNIT unit [LABELS ...] SOURCES ...)
function(fakescore_add_launcher_tests)
  cmake_parse_arguments(ARG "" "UNIT" "SOURCES;LABELS" ${ARGN})
  fakescore_add_tests(launcher_test UNIT ${ARG_UNIT} LABELS launcher TIMEOUT 400
                      SOURCES ${ARG_SOURCES})
  list(FILTER ARG_SOURCES INCLUDE REGEX "_test\\.cpp$")
  foreach(source ${ARG_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    if(ARG_LABELS)
      set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
    endif()
    # Whole stacks, which Open MPI's leaks need, take minutes here; the world tests look for leaks.
    fakescore_ignore_leaks(${name})
  endforeach()
endfunction()
fakescore_add_launcher_tests(UNIT launcher SOURCES
  launcher/exit_codes_test.cpp
  launcher/forecast_test.cpp
  launcher/launched_program_test.cpp
  launcher/plan_test.cpp
  launcher/program_test.cpp
  launcher/progress_test.cpp
  launcher/store_door_test.cpp
  launcher/ties_test.cpp
  launcher/written_files_test.cpp
  support/shell.cpp)

if(FAKESCORE_BUILD_EXAMPLES)
  fakescore_add_launcher_tests(UNIT launcher SOURCES launcher/examples_test.cpp)
  fakescore_add_tests(launcher_test UNIT launcher LABELS unit SOURCES unit/sampler_test.cpp)
  target_link_libraries(launcher_test PRIVATE fakescore_digits)
  target_compile_definitions(launcher_test PRIVATE
    FAKESCORE_EXAMPLE_PROGRAMS="$<TARGET_FILE_DIR:digits_demo>")
  add_dependencies(launcher_test digits_demo single_process many_ranks own_model)
  if(FAKESCORE_WITH_MPI)
    add_dependencies(launcher_test training)
  endif()
endif()
if(TARGET control_benchmark)
  fakescore_add_launcher_tests(UNIT launcher SOURCES launcher/control_benchmark_test.cpp)
  target_compile_definitions(launcher_test PRIVATE
    FAKESCORE_CONTROL_BENCHMARK="$<TARGET_FILE:control_benchmark>")
  add_dependencies(launcher_test control_benchmark)
endif()
if(TARGET cpu_load_benchmark)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  fakescore_add_launcher_tests(UNIT launcher SOURCES launcher/cpu_benchmark_test.cpp)
  target_compile_definitions(launcher_test PRIVATE
    FAKESCORE_BUILD_FOLDER="${PROJECT_BINARY_DIR}" FAKESCORE_TEST_PYTHON="${Python3_EXECUTABLE}")
  add_dependencies(launcher_test cpu_load_benchmark)
  set_property(TEST cpu_benchmark_test PROPERTY PROCESSORS 2)
endif()
if(FAKESCORE_HAVE_CUDA)
  set(emulated LABELS "emulated;launcher")
  fakescore_add_launcher_tests(UNIT launcher ${emulated} SOURCES gpu/program_gpu_test.cpp)
  set_tests_properties(program_gpu_test PROPERTIES PROCESSORS 2)
  target_compile_definitions(launcher_test PRIVATE
    FAKESCORE_TEST_EMULATE="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/emulate")
  add_dependencies(launcher_test fakescore_emulation fakescore_emulated_ops
                                 fakescore_emulated_kernels)
  if(TARGET load_benchmark)
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    fakescore_add_launcher_tests(UNIT launcher ${emulated} SOURCES gpu/load_benchmark_test.cpp)
    target_compile_definitions(launcher_test PRIVATE
      FAKESCORE_LOAD_BENCHMARK="$<TARGET_FILE:load_benchmark>"
      FAKESCORE_TEST_PYTHON="${Python3_EXECUTABLE}")
    add_dependencies(launcher_test load_benchmark)
    set_tests_properties(load_benchmark_test PROPERTIES PROCESSORS 2)
  endif()
endif()
fakescore_check_suites(launcher_test launcher)
