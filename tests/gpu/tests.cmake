# Preloaded beside the emulation: host bodies of the library's own kernels.
add_library(fakescore_emulated_kernels SHARED gpu/emulated_kernels.cpp)
fakescore_configure_target(fakescore_emulated_kernels)
target_include_directories(fakescore_emulated_kernels PRIVATE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests/emulation)
target_link_libraries(fakescore_emulated_kernels PRIVATE ${CMAKE_DL_LIBS})

fakescore_add_gpu_test(nccl_communicator_test SOURCES gpu/nccl_communicator_test.cpp
                       LIBRARIES fakescore::nccl fakescore::torch_cuda)
target_compile_definitions(nccl_communicator_test PRIVATE USE_C10D_NCCL)
fakescore_add_gpu_test(fake_score_gpu_test SOURCES gpu/fake_score_gpu_test.cpp)
fakescore_add_gpu_test(gpu_memory_test SOURCES gpu/memory_bound_test.cpp gpu/digest_gpu_test.cpp)
fakescore_add_gpu_test(pinned_reader_test
  SOURCES gpu/pinned_reader_test.cpp ${PROJECT_SOURCE_DIR}/src/sync/pinned_reader.cpp
          ${PROJECT_SOURCE_DIR}/src/core/broken_device.cpp)
fakescore_add_gpu_test(sync_gpu_test SOURCES gpu/sync_gpu_test.cpp)
fakescore_add_gpu_test(adopt_test SOURCES gpu/adopt_test.cpp
                       LIBRARIES fakescore::nccl fakescore::torch_cuda)
target_compile_definitions(adopt_test PRIVATE USE_C10D_NCCL)

# A test whose ranks are processes of its own, on emulated devices.
# fakescore_add_gpu_fault_test(name SOURCE RANK_PROGRAMS...)
function(fakescore_add_gpu_fault_test name source)
  fakescore_add_test_executable(${name} SOURCES ${source} support/process_group.cpp
                                LIBRARIES GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    FAKESCORE_TEST_EMULATE="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/emulate")
  foreach(program ${ARGN})
    string(TOUPPER ${program} definition)
    target_compile_definitions(${name} PRIVATE ${definition}="$<TARGET_FILE:${program}>")
  endforeach()
  add_dependencies(${name} ${ARGN} fakescore_emulation fakescore_emulated_ops
                   fakescore_emulated_kernels)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "emulated;fault;slow" TIMEOUT 900
                       PROCESSORS 2 ENVIRONMENT "${FAKESCORE_TEST_ENVIRONMENT}")
endfunction()

fakescore_add_gpu_fault_test(nccl_fault_test gpu/nccl_fault_test.cpp meta_fault_rank suspended_rank)

fakescore_add_test_executable(adopted_fault_rank SOURCES gpu/adopted_fault_rank.cpp
  LIBRARIES fakescore::nccl fakescore::torch_cuda)
target_include_directories(adopted_fault_rank PRIVATE ${PROJECT_SOURCE_DIR}/tests/emulation)
target_compile_definitions(adopted_fault_rank PRIVATE USE_C10D_NCCL)
fakescore_add_gpu_fault_test(adopted_fault_test gpu/adopted_fault_test.cpp adopted_fault_rank)

if(FAKESCORE_BUILD_TOOLS)
  fakescore_add_launcher_test(program_gpu_test SOURCES gpu/program_gpu_test.cpp)
  target_compile_definitions(program_gpu_test PRIVATE
    FAKESCORE_TEST_EMULATE="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/emulate")
  add_dependencies(program_gpu_test fakescore_emulation fakescore_emulated_ops
                   fakescore_emulated_kernels)
  set_tests_properties(program_gpu_test PROPERTIES LABELS "emulated;launcher" PROCESSORS 2)
endif()
if(TARGET load_benchmark)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  fakescore_add_launcher_test(load_benchmark_test
    SOURCES gpu/load_benchmark_test.cpp LIBRARIES nlohmann_json::nlohmann_json)
  target_compile_definitions(load_benchmark_test PRIVATE
    FAKESCORE_LOAD_BENCHMARK="$<TARGET_FILE:load_benchmark>"
    FAKESCORE_TEST_PYTHON="${Python3_EXECUTABLE}"
    FAKESCORE_TEST_EMULATE="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/emulate")
  add_dependencies(load_benchmark_test load_benchmark fakescore_emulation fakescore_emulated_ops
                   fakescore_emulated_kernels)
  set_tests_properties(load_benchmark_test PROPERTIES LABELS "emulated;launcher" PROCESSORS 2)
endif()
