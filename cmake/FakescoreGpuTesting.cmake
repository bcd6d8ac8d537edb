# Tests that need a GPU, real or emulated (tests/gpu).

# A program of GPU tests, and its sources as entries for the emulated tier (under mpirun and torchrun,
# over seeds of delays) and for a real device (one rank; tests/gpu/run starts more). Each entry is
# named like its file. fakescore_add_gpu_tests(program UNIT unit SOURCES ... LIBRARIES ...)
function(fakescore_add_gpu_tests program)
  cmake_parse_arguments(ARG "" "UNIT" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${program})
  fakescore_configure_test(${program})
  target_include_directories(${program} PRIVATE ${PROJECT_SOURCE_DIR}/tests/emulation)
  target_compile_definitions(${program} PRIVATE USE_C10D_NCCL)
  target_link_libraries(${program} PRIVATE ${ARG_LIBRARIES} fakescore::c10_cuda fakescore::nccl
                                           fakescore::torch_cuda GTest::gmock)
  fakescore_add_unit(${program} ${ARG_UNIT} ${ARG_SOURCES} gpu/gpu_main.cpp support/job_rank.cpp)
  foreach(source ${ARG_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    fakescore_suites_of(filter ${program} ${source})
    fakescore_add_gpu_entries(${name} $<TARGET_FILE:${program}> --gtest_filter=${filter})
  endforeach()
endfunction()

function(fakescore_add_gpu_entries name)
  add_test(NAME ${name}.gpu COMMAND ${ARGN})
  set_tests_properties(${name}.gpu PROPERTIES LABELS gpu TIMEOUT 600 SKIP_RETURN_CODE 77
                       ENVIRONMENT "${FAKESCORE_TEST_ENVIRONMENT}")
  set(rank ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/emulate ${ARGN})
  fakescore_add_emulated_entry(${name}.emulated.1 1 ${rank})
  if(FAKESCORE_WITH_MPI)
    foreach(seed 1 2 3)  # each with another number of ranks
      math(EXPR ranks "${seed} % 3 + 2")
      fakescore_add_emulated_entry(${name}.emulated.mpi.${ranks}.seed${seed} ${seed}
        "${MPIEXEC_EXECUTABLE}" --oversubscribe -n ${ranks} ${rank})
      fakescore_choose_leaks_over_mpi(${name}.emulated.mpi.${ranks}.seed${seed} ${ranks})
    endforeach()
  endif()
  if(FAKESCORE_TORCHRUN)
    fakescore_add_emulated_entry(${name}.emulated.torchrun.2 6 "${FAKESCORE_TORCHRUN}" --standalone
      --no-python --nproc-per-node 2 ${rank})
  endif()
endfunction()

function(fakescore_add_emulated_entry test seed)
  add_test(NAME ${test} COMMAND ${ARGN})
  set(environment ${FAKESCORE_TEST_ENVIRONMENT} FAKESCORE_EMULATION_SEED=${seed}
                  FAKESCORE_EMULATION_DELAY_US=200)
  set_tests_properties(${test} PROPERTIES LABELS emulated TIMEOUT 300 PROCESSORS 2
                       ENVIRONMENT "${environment}")
endfunction()
