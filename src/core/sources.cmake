target_sources(fakescore PRIVATE
  core/digest.cpp
  core/error.cpp
  core/manifest.cpp
  core/module_tensors.cpp
  core/teacher/mapped_file.cpp
  core/teacher/memory_teacher.cpp
  core/teacher/safetensors_dtype.cpp
  core/teacher/safetensors_folder.cpp
  core/teacher/safetensors_header.cpp
  core/teacher/safetensors_teacher.cpp
  core/teacher/safetensors_writer.cpp
  core/teacher/teacher_source.cpp
)
