# LibTorch as the imported target fakescore::torch, from the PyPI torch wheel.
#
# The wheel's own TorchConfig.cmake insists on a CUDA toolkit whenever the wheel was built with CUDA.
# A CPU build needs none, so the target is made here from the wheel's headers and CPU libraries.
#
# FAKESCORE_TORCH_DIR   the folder of the torch package (holds include/ and lib/); found through
#                       FAKESCORE_PYTHON (or python3) when it is not given.

if(TARGET fakescore::torch)
  return()
endif()

if(NOT FAKESCORE_TORCH_DIR)
  if(NOT FAKESCORE_PYTHON)
    find_program(FAKESCORE_PYTHON NAMES python3 REQUIRED)
  endif()
  execute_process(
    COMMAND "${FAKESCORE_PYTHON}" -c
            "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE FAKESCORE_TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE _fakescore_torch_result ERROR_QUIET)
  if(NOT _fakescore_torch_result EQUAL 0)
    message(FATAL_ERROR "LibTorch was not found: ${FAKESCORE_PYTHON} has no torch package. "
                        "Set FAKESCORE_TORCH_DIR to the folder of the torch wheel, or "
                        "FAKESCORE_PYTHON to a Python that has it.")
  endif()
endif()
set(FAKESCORE_TORCH_DIR "${FAKESCORE_TORCH_DIR}" CACHE PATH "folder of the torch package")

foreach(_fakescore_file include/torch/csrc/api/include/torch/torch.h lib/libtorch_cpu.so
                        lib/libc10.so)
  if(NOT EXISTS "${FAKESCORE_TORCH_DIR}/${_fakescore_file}")
    message(FATAL_ERROR "LibTorch in ${FAKESCORE_TORCH_DIR} lacks ${_fakescore_file}")
  endif()
endforeach()

file(STRINGS "${FAKESCORE_TORCH_DIR}/version.py" _fakescore_torch_version REGEX "^__version__ = ")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" FAKESCORE_TORCH_VERSION "${_fakescore_torch_version}")
# As torch.__version__ has it: "2.11.0+cu130".
string(REGEX REPLACE "^__version__ = '(.*)'$" "\\1" FAKESCORE_TORCH_FULL_VERSION
                     "${_fakescore_torch_version}")

# What LibTorch has is looked for, and not concluded from its version: vendors' builds differ.
file(STRINGS "${FAKESCORE_TORCH_DIR}/include/c10/core/CachingDeviceAllocator.h"
     FAKESCORE_TORCH_HAS_DEVICE_ALLOCATOR REGEX " getDeviceAllocator\\(")
file(STRINGS "${FAKESCORE_TORCH_DIR}/include/c10/core/DispatchKey.h"
     FAKESCORE_TORCH_HAS_DEFERRED_INIT REGEX "^ *DeferredInit,")

foreach(_fakescore_lib c10 torch_cpu)
  add_library(fakescore::${_fakescore_lib} SHARED IMPORTED)
  set_target_properties(fakescore::${_fakescore_lib} PROPERTIES
    IMPORTED_LOCATION "${FAKESCORE_TORCH_DIR}/lib/lib${_fakescore_lib}.so")
endforeach()

add_library(fakescore::torch INTERFACE IMPORTED)
target_include_directories(fakescore::torch SYSTEM INTERFACE
  "${FAKESCORE_TORCH_DIR}/include"
  "${FAKESCORE_TORCH_DIR}/include/torch/csrc/api/include")
target_compile_features(fakescore::torch INTERFACE cxx_std_20)
target_compile_definitions(fakescore::torch INTERFACE USE_DISTRIBUTED USE_C10D)
target_link_libraries(fakescore::torch INTERFACE fakescore::torch_cpu fakescore::c10)
# libtorch_cpu finds its own CUDA libraries through its RPATH; the linker need not.
target_link_options(fakescore::torch INTERFACE LINKER:--allow-shlib-undefined)
