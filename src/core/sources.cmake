target_sources(fakescore PRIVATE
  core/broken_device.cpp
  core/digest.cpp
  core/error.cpp
  core/error_codec.cpp
  core/manifest.cpp
  core/meta/fallback.cpp
  core/meta/guard.cpp
  core/meta/op_info.cpp
  core/meta/recorder.cpp
  core/meta/replay.cpp
  core/meta/seeding.cpp
  core/meta/tape.cpp
  core/module_tensors.cpp
  core/name_pattern.cpp
  core/teacher/key_rule.cpp
  core/teacher/mapped_file.cpp
  core/teacher/memory_teacher.cpp
  core/teacher/open_teacher.cpp
  core/teacher/renamed_teacher.cpp
  core/teacher/safetensors_dtype.cpp
  core/teacher/safetensors_folder.cpp
  core/teacher/safetensors_header.cpp
  core/teacher/safetensors_teacher.cpp
  core/teacher/safetensors_writer.cpp
  core/teacher/teacher_source.cpp
)
if(FAKESCORE_HAVE_CUDA)
  target_sources(fakescore PRIVATE core/cuda/device_digest.cpp core/cuda/load_cuda.cpp)
  fakescore_target_cuda_sources(fakescore core/cuda/digest_kernel.cu)
  target_link_libraries(fakescore PRIVATE
    $<BUILD_INTERFACE:fakescore::c10_cuda> $<BUILD_INTERFACE:fakescore::nccl>)
else()
  target_sources(fakescore PRIVATE core/cuda/no_cuda.cpp)
endif()
