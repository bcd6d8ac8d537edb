add_test(NAME setup_test
         COMMAND ${PROJECT_SOURCE_DIR}/tests/launcher/setup_test.sh ${PROJECT_SOURCE_DIR})
fakescore_test_properties(setup_test launcher 60)
if(FAKESCORE_BUILD_TOOLS)
  fakescore_add_test(program_test
    SOURCES launcher/program_test.cpp support/shell.cpp
    LIBRARIES nlohmann_json::nlohmann_json
    LABELS launcher TIMEOUT 400)
  target_compile_definitions(program_test PRIVATE
    FAKESCORE_PROGRAM="$<TARGET_FILE:fakescore_program>"
    $<$<BOOL:${FAKESCORE_WITH_MPI}>:FAKESCORE_TEST_MPIEXEC="${MPIEXEC_EXECUTABLE}">
    $<$<BOOL:${FAKESCORE_TORCHRUN}>:FAKESCORE_TEST_TORCHRUN="${FAKESCORE_TORCHRUN}">)
  add_dependencies(program_test fakescore_program)
  # Whole stacks, which Open MPI's leaks need, take minutes here; the world tests look for leaks.
  set_property(TEST program_test PROPERTY
               ENVIRONMENT_MODIFICATION ASAN_OPTIONS=string_append::detect_leaks=0)
endif()
if(FAKESCORE_BUILD_EXAMPLES AND FAKESCORE_BUILD_TOOLS)
  set(_digits ${PROJECT_SOURCE_DIR}/examples/digits)
  add_test(NAME example_single_process COMMAND single_process ${_digits})
  fakescore_test_properties(example_single_process launcher 60)
  set_tests_properties(example_single_process PROPERTIES
    PASS_REGULAR_EXPRESSION "82 parameters, digest .*deep copy: equal true, training true")
  if(FAKESCORE_WITH_MPI)
    foreach(example many_ranks training)
      add_test(NAME example_${example} COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe -n 2
               $<TARGET_FILE:${example}> ${_digits})
      fakescore_test_properties(example_${example} launcher 120)
    endforeach()
    set_tests_properties(example_many_ranks PROPERTIES
      PASS_REGULAR_EXPRESSION "2 ranks over mpi, digest .* on every rank")
    set_tests_properties(example_training PROPERTIES
      PASS_REGULAR_EXPRESSION "loss fell: true, weights equal on every rank: true")
    add_test(NAME example_digits_demo COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe -n 4
             $<TARGET_FILE:digits_demo> ${_digits} ${PROJECT_BINARY_DIR}/digits.png)
    fakescore_test_properties(example_digits_demo launcher 120)
    set_tests_properties(example_digits_demo PROPERTIES
      PASS_REGULAR_EXPRESSION "the same on every rank.*rank 3 sampled 80 digits")
  endif()
endif()
