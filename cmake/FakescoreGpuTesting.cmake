# Tests that need a GPU, real or emulated (tests/gpu).

# One source of GPU tests, registered for the emulated tier (under mpirun and torchrun, over seeds of
# delays) and for a real device (one rank; tests/gpu/run starts more).
# fakescore_add_gpu_test(name SOURCES ... [LIBRARIES ...])
function(fakescore_add_gpu_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  fakescore_add_test_executable(${name} SOURCES ${ARG_SOURCES}
    ${PROJECT_SOURCE_DIR}/tests/gpu/gpu_main.cpp ${PROJECT_SOURCE_DIR}/tests/support/job_rank.cpp
    LIBRARIES fakescore::c10_cuda ${ARG_LIBRARIES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/emulation)
  add_test(NAME ${name}.gpu COMMAND ${name})
  set_tests_properties(${name}.gpu PROPERTIES LABELS gpu TIMEOUT 600 SKIP_RETURN_CODE 77
                       ENVIRONMENT "${FAKESCORE_TEST_ENVIRONMENT}")
  set(rank ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/emulate $<TARGET_FILE:${name}>)
  fakescore_add_emulated_entry(${name}.emulated.1 1 ${rank})
  if(FAKESCORE_WITH_MPI)
    foreach(seed 1 2 3 4 5)
      math(EXPR ranks "${seed} % 3 + 2")
      fakescore_add_emulated_entry(${name}.emulated.mpi.${ranks}.seed${seed} ${seed}
        "${MPIEXEC_EXECUTABLE}" --oversubscribe -n ${ranks} ${rank})
      fakescore_unwind_for_mpi(${name}.emulated.mpi.${ranks}.seed${seed})
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
