fakescore_add_unit(fakescore_objects tensor
  tensor/broken_device.cpp
  tensor/byte_ranges.cpp
  tensor/digest.cpp
  tensor/manifest.cpp
  tensor/name_pattern.cpp
  tensor/named_tensor.cpp)
if(FAKESCORE_HAVE_CUDA)
  fakescore_add_unit(fakescore_cuda_objects tensor_cuda
    tensor/cuda/device_digest.cpp
    tensor/cuda/load_cuda.cpp)
else()
  target_sources(fakescore_objects PRIVATE tensor/cuda/no_cuda.cpp)
endif()
