# The CUDA half of LibTorch, the CUDA runtime and NCCL as imported targets, all from the PyPI torch
# wheel and the wheels beside it, and the compiler for device code. No GPU is needed.
#
# FAKESCORE_CUDA           AUTO (default), ON or OFF
# FAKESCORE_HAVE_CUDA      result: whether the targets below are defined
# FAKESCORE_CUDA_COMPILER  nvcc
#
# fakescore::cudart, fakescore::nccl, fakescore::c10_cuda, fakescore::torch_cuda

set(FAKESCORE_CUDA AUTO CACHE STRING
    "build for CUDA: ON, OFF, or AUTO: where the headers, libtorch_cuda, NCCL and nvcc are found")
set(FAKESCORE_CUDA_ARCHITECTURES 80 90 100 CACHE STRING
    "compute capabilities that device code is compiled for; PTX of the last one is kept as well")
set(FAKESCORE_HAVE_CUDA OFF)
if(NOT FAKESCORE_CUDA)
  return()
endif()

get_filename_component(_fakescore_site "${FAKESCORE_TORCH_DIR}/.." ABSOLUTE)
# cu13 beside torch 2.11 and 2.15; the newest where there are several.
file(GLOB _fakescore_cuda_wheels LIST_DIRECTORIES ON "${_fakescore_site}/nvidia/cu[0-9]*")
list(SORT _fakescore_cuda_wheels COMPARE NATURAL ORDER DESCENDING)
set(_fakescore_wheel_includes ${_fakescore_cuda_wheels})
list(TRANSFORM _fakescore_wheel_includes APPEND /include)
set(_fakescore_wheel_bins ${_fakescore_cuda_wheels})
list(TRANSFORM _fakescore_wheel_bins APPEND /bin)

# The wheel's headers belong to the libraries that LibTorch was built with, so they come first.
find_path(FAKESCORE_CUDA_INCLUDE cuda_runtime_api.h
          PATHS ${_fakescore_wheel_includes} /usr/local/cuda/include NO_DEFAULT_PATH)
# NCCL's header includes CUDA's half-precision types, which include this of CCCL.
set(_fakescore_cccl_includes ${_fakescore_wheel_includes} /usr/local/cuda/include)
list(TRANSFORM _fakescore_cccl_includes APPEND /cccl)
find_path(FAKESCORE_CCCL_INCLUDE nv/target
          PATHS ${_fakescore_cccl_includes} ${_fakescore_wheel_includes} /usr/local/cuda/include
          NO_DEFAULT_PATH)
find_path(FAKESCORE_NCCL_INCLUDE nccl.h
          PATHS "${_fakescore_site}/nvidia/nccl/include" NO_DEFAULT_PATH)
find_program(FAKESCORE_CUDA_COMPILER nvcc PATHS ${_fakescore_wheel_bins} NO_DEFAULT_PATH)
find_program(FAKESCORE_CUDA_COMPILER nvcc PATHS /usr/local/cuda/bin)

# The wheels hold no lib*.so links for a linker to find, only files with a version.
function(_fakescore_find_library variable)
  file(GLOB found ${ARGN})
  list(SORT found COMPARE NATURAL ORDER DESCENDING)
  set(${variable} "${variable}-NOTFOUND" PARENT_SCOPE)
  if(found)
    list(GET found 0 first)
    set(${variable} "${first}" PARENT_SCOPE)
  endif()
endfunction()
set(_fakescore_cudart_patterns ${_fakescore_cuda_wheels})
list(TRANSFORM _fakescore_cudart_patterns APPEND "/lib/libcudart.so.*")
_fakescore_find_library(FAKESCORE_CUDART_LIBRARY ${_fakescore_cudart_patterns})
_fakescore_find_library(FAKESCORE_NCCL_LIBRARY "${_fakescore_site}/nvidia/nccl/lib/libnccl.so.*")
_fakescore_find_library(FAKESCORE_C10_CUDA_LIBRARY "${FAKESCORE_TORCH_DIR}/lib/libc10_cuda.so")
_fakescore_find_library(FAKESCORE_TORCH_CUDA_LIBRARY "${FAKESCORE_TORCH_DIR}/lib/libtorch_cuda.so")

# Device code of another CUDA than the runtime's fails at run time, or does not compile.
set(_fakescore_nvcc_fits OFF)
set(_fakescore_nvcc_release "none")
if(FAKESCORE_CUDA_COMPILER AND FAKESCORE_CUDART_LIBRARY)
  execute_process(COMMAND "${FAKESCORE_CUDA_COMPILER}" --version OUTPUT_VARIABLE _fakescore_nvcc_says
                  ERROR_QUIET)
  if(_fakescore_nvcc_says MATCHES "release ([0-9]+)\\.([0-9]+)")
    set(_fakescore_nvcc_release "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}")
    if(FAKESCORE_CUDART_LIBRARY MATCHES "\\.so\\.${CMAKE_MATCH_1}$")
      set(_fakescore_nvcc_fits ON)
    endif()
  endif()
endif()

set(_fakescore_missing "")
foreach(_fakescore_need
        "FAKESCORE_TORCH_CUDA_LIBRARY|libtorch_cuda.so in ${FAKESCORE_TORCH_DIR}/lib"
        "FAKESCORE_C10_CUDA_LIBRARY|libc10_cuda.so in ${FAKESCORE_TORCH_DIR}/lib"
        "FAKESCORE_CUDART_LIBRARY|libcudart.so.* in ${_fakescore_site}/nvidia/cu*/lib"
        "FAKESCORE_CUDA_INCLUDE|cuda_runtime_api.h in ${_fakescore_site}/nvidia/cu*/include and /usr/local/cuda/include"
        "FAKESCORE_CCCL_INCLUDE|nv/target in ${_fakescore_site}/nvidia/cu*/include/cccl (PyPI: nvidia-cuda-cccl) and /usr/local/cuda/include"
        "FAKESCORE_NCCL_LIBRARY|libnccl.so.* in ${_fakescore_site}/nvidia/nccl/lib"
        "FAKESCORE_NCCL_INCLUDE|nccl.h in ${_fakescore_site}/nvidia/nccl/include"
        "FAKESCORE_CUDA_COMPILER|nvcc in ${_fakescore_site}/nvidia/cu*/bin (PyPI: nvidia-cuda-nvcc), on PATH and in /usr/local/cuda/bin"
        "_fakescore_nvcc_fits|an nvcc of ${FAKESCORE_CUDART_LIBRARY}'s CUDA; ${FAKESCORE_CUDA_COMPILER} is of release ${_fakescore_nvcc_release}")
  string(REPLACE "|" ";" _fakescore_need "${_fakescore_need}")
  list(GET _fakescore_need 0 _fakescore_variable)
  if(NOT ${_fakescore_variable})
    list(GET _fakescore_need 1 _fakescore_text)
    string(APPEND _fakescore_missing "\n  ${_fakescore_text}")
  endif()
endforeach()
if(_fakescore_missing)
  if(FAKESCORE_CUDA STREQUAL "AUTO")
    message(STATUS "fakescore without CUDA; not found:${_fakescore_missing}")
    return()
  endif()
  message(FATAL_ERROR "FAKESCORE_CUDA is ${FAKESCORE_CUDA}, but these were not found:"
                      "${_fakescore_missing}")
endif()
set(FAKESCORE_HAVE_CUDA ON)
message(STATUS "fakescore with CUDA: ${FAKESCORE_CUDART_LIBRARY}, ${FAKESCORE_NCCL_LIBRARY}, "
               "${FAKESCORE_CUDA_COMPILER}")

function(_fakescore_import target library include)
  add_library(${target} SHARED IMPORTED)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${library}")
  target_include_directories(${target} SYSTEM INTERFACE "${include}")
endfunction()
_fakescore_import(fakescore::cudart "${FAKESCORE_CUDART_LIBRARY}" "${FAKESCORE_CUDA_INCLUDE}")
target_include_directories(fakescore::cudart SYSTEM INTERFACE "${FAKESCORE_CCCL_INCLUDE}")
_fakescore_import(fakescore::nccl "${FAKESCORE_NCCL_LIBRARY}" "${FAKESCORE_NCCL_INCLUDE}")
_fakescore_import(fakescore::c10_cuda "${FAKESCORE_C10_CUDA_LIBRARY}"
                  "${FAKESCORE_TORCH_DIR}/include")
target_link_libraries(fakescore::c10_cuda INTERFACE fakescore::cudart fakescore::torch)

# Operators register when libtorch_cuda is loaded, so it is linked though no symbol is named.
add_library(fakescore::torch_cuda INTERFACE IMPORTED)
target_link_libraries(fakescore::torch_cuda INTERFACE fakescore::c10_cuda)
target_link_options(fakescore::torch_cuda INTERFACE
  "LINKER:--push-state,--no-as-needed,${FAKESCORE_TORCH_CUDA_LIBRARY},--pop-state"
  "LINKER:-rpath,${FAKESCORE_TORCH_DIR}/lib")

# Device code: fakescore_target_cuda_sources(target file.cu ...), paths relative to the current
# folder. By custom commands: CMake's own CUDA language wants a whole toolkit to link with.
function(fakescore_target_cuda_sources target)
  set(code "")
  foreach(architecture ${FAKESCORE_CUDA_ARCHITECTURES})
    list(APPEND code -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  list(GET FAKESCORE_CUDA_ARCHITECTURES -1 last)
  list(APPEND code -gencode arch=compute_${last},code=compute_${last})
  set(includes "$<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>")
  foreach(source ${ARGN})
    get_filename_component(input "${source}" ABSOLUTE)
    get_filename_component(name "${source}" NAME)
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${target}.cuda/${name}.o")
    file(MAKE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/${target}.cuda")
    add_custom_command(OUTPUT "${object}"
      COMMAND "${FAKESCORE_CUDA_COMPILER}" -c "${input}" -o "${object}" -MD -MF "${object}.d"
              -ccbin "${CMAKE_CXX_COMPILER}" -std=c++20 -O2 -Xcompiler=-fPIC,-fvisibility=hidden
              ${code} "$<$<BOOL:${includes}>:-I$<JOIN:${includes},;-I>>"
      DEPENDS "${input}" DEPFILE "${object}.d" COMMAND_EXPAND_LISTS VERBATIM
      COMMENT "Building device code ${name}")
    target_sources(${target} PRIVATE "${object}")
  endforeach()
endfunction()
