add_test(NAME setup_test
         COMMAND ${PROJECT_SOURCE_DIR}/tests/launcher/setup_test.sh ${PROJECT_SOURCE_DIR})
fakescore_test_properties(setup_test launcher 60)

# A test of programs that it starts: fakescore_add_launcher_test(name SOURCES ... [LIBRARIES ...])
function(fakescore_add_launcher_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  fakescore_add_test(${name} SOURCES ${ARG_SOURCES} support/shell.cpp LIBRARIES ${ARG_LIBRARIES}
                     LABELS launcher TIMEOUT 400)
  fakescore_define_launchers(${name})
  target_compile_definitions(${name} PRIVATE
    FAKESCORE_PROGRAM="$<TARGET_FILE:fakescore_program>" FAKESCORE_VERSION="${PROJECT_VERSION}")
  add_dependencies(${name} fakescore_program)
  # Whole stacks, which Open MPI's leaks need, take minutes here; the world tests look for leaks.
  set_property(TEST ${name} PROPERTY
               ENVIRONMENT_MODIFICATION ASAN_OPTIONS=string_append::detect_leaks=0)
endfunction()

if(FAKESCORE_BUILD_TOOLS)
  fakescore_add_launcher_test(program_test
    SOURCES launcher/program_test.cpp LIBRARIES nlohmann_json::nlohmann_json)
  fakescore_add_launcher_test(exit_codes_test SOURCES launcher/exit_codes_test.cpp)
  if(FAKESCORE_SANITIZE)
    target_compile_definitions(exit_codes_test PRIVATE FAKESCORE_SANITIZED)
  endif()
  fakescore_add_launcher_test(plan_test
    SOURCES launcher/plan_test.cpp LIBRARIES nlohmann_json::nlohmann_json)
  if(FAKESCORE_SANITIZE)
    target_compile_definitions(plan_test PRIVATE FAKESCORE_SANITIZED)
  endif()
  fakescore_add_launcher_test(launched_program_test SOURCES launcher/launched_program_test.cpp)
  fakescore_add_launcher_test(ties_test
    SOURCES launcher/ties_test.cpp ${PROJECT_SOURCE_DIR}/launcher/output.cpp)
  target_include_directories(ties_test PRIVATE ${PROJECT_SOURCE_DIR})
  fakescore_add_launcher_test(progress_test
    SOURCES launcher/progress_test.cpp ${PROJECT_SOURCE_DIR}/launcher/progress_display.cpp)
  target_include_directories(progress_test PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(progress_test PRIVATE FMT_HEADER_ONLY)
endif()
if(FAKESCORE_BUILD_EXAMPLES AND FAKESCORE_BUILD_TOOLS)
  fakescore_add_launcher_test(examples_test SOURCES launcher/examples_test.cpp)
  target_compile_definitions(examples_test PRIVATE
    FAKESCORE_EXAMPLE_PROGRAMS="$<TARGET_FILE_DIR:digits_demo>")
  add_dependencies(examples_test digits_demo single_process many_ranks own_model)
  if(FAKESCORE_WITH_MPI)
    add_dependencies(examples_test training)
  endif()
endif()
# A sanitizer keeps memory of its own, which is what this counts.
if(TARGET cpu_load_benchmark AND NOT FAKESCORE_SANITIZE)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  fakescore_add_launcher_test(cpu_benchmark_test
    SOURCES launcher/cpu_benchmark_test.cpp LIBRARIES nlohmann_json::nlohmann_json)
  target_compile_definitions(cpu_benchmark_test PRIVATE
    FAKESCORE_BUILD_FOLDER="${PROJECT_BINARY_DIR}" FAKESCORE_TEST_PYTHON="${Python3_EXECUTABLE}")
  add_dependencies(cpu_benchmark_test cpu_load_benchmark)
  set_property(TEST cpu_benchmark_test PROPERTY PROCESSORS 2)
endif()
