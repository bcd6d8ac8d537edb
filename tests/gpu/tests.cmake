# Preloaded beside the emulation: host bodies of the library's own kernels.
add_library(fakescore_emulated_kernels SHARED gpu/emulated_kernels.cpp)
fakescore_configure_target(fakescore_emulated_kernels)
target_include_directories(fakescore_emulated_kernels PRIVATE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests/emulation)
target_link_libraries(fakescore_emulated_kernels PRIVATE ${CMAKE_DL_LIBS})

fakescore_add_gpu_tests(gpu_test UNIT gpu LIBRARIES fakescore::fakescore fakescore_plans SOURCES
  gpu/adopt_test.cpp
  gpu/callers_stream_test.cpp
  gpu/digest_gpu_test.cpp
  gpu/fake_score_gpu_test.cpp
  gpu/fill_shards_gpu_test.cpp
  gpu/memory_bound_test.cpp
  gpu/nccl_communicator_test.cpp
  gpu/sync_gpu_test.cpp)
# What the library hides.
fakescore_add_gpu_tests(gpu_unit_test UNIT gpu LIBRARIES ${FAKESCORE_OBJECT_LIBRARIES} SOURCES
  gpu/pinned_reader_test.cpp)

# Jobs that lose ranks, on emulated devices.
if(FAKESCORE_SANITIZE)
  return()  # as fault/tests.cmake has it
endif()
fakescore_add_test_executable(adopted_fault_rank SOURCES gpu/adopted_fault_rank.cpp
  LIBRARIES fakescore::nccl fakescore::torch_cuda)
target_include_directories(adopted_fault_rank PRIVATE ${PROJECT_SOURCE_DIR}/tests/emulation)
target_compile_definitions(adopted_fault_rank PRIVATE USE_C10D_NCCL)
fakescore_add_fault_test(nccl_fault_test gpu/nccl_fault_test.cpp meta_fault_rank suspended_rank
  busy_rank)
fakescore_add_fault_test(adopted_fault_test gpu/adopted_fault_test.cpp adopted_fault_rank)
foreach(test nccl_fault_test adopted_fault_test)
  target_compile_definitions(${test} PRIVATE
    FAKESCORE_TEST_EMULATE="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/emulate")
  add_dependencies(${test} fakescore_emulation fakescore_emulated_ops fakescore_emulated_kernels)
  # They look for free ports, and let go of them before a rank takes them.
  set_tests_properties(${test} PROPERTIES LABELS "emulated;fault;slow" RESOURCE_LOCK free_ports)
endforeach()
