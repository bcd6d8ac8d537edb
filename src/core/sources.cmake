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
  core/teacher/checkpoint_file.cpp
  core/teacher/checkpoint_folder.cpp
  core/teacher/checkpoint_index.cpp
  core/teacher/checkpoint_teacher.cpp
  core/teacher/dcp/chunk_files.cpp
  core/teacher/dcp/dcp_metadata.cpp
  core/teacher/dcp/key_choice.cpp
  core/teacher/dcp/open_distributed.cpp
  core/teacher/dcp/shard_boxes.cpp
  core/teacher/dcp/sharded_safetensors.cpp
  core/teacher/dcp/sharded_teacher.cpp
  core/teacher/dcp/sharded_tensor.cpp
  core/teacher/file_text.cpp
  core/teacher/key_rule.cpp
  core/teacher/mapped_file.cpp
  core/teacher/memory_teacher.cpp
  core/teacher/open_teacher.cpp
  core/teacher/pickle/pickle_arena.cpp
  core/teacher/pickle/pickle_machine.cpp
  core/teacher/pickle/pickle_nesting.cpp
  core/teacher/pickle/pickle_objects.cpp
  core/teacher/pickle/read_pickle.cpp
  core/teacher/renamed_teacher.cpp
  core/teacher/safetensors_dtype.cpp
  core/teacher/safetensors_file.cpp
  core/teacher/safetensors_header.cpp
  core/teacher/safetensors_writer.cpp
  core/teacher/teacher_source.cpp
  core/teacher/torch_file/foreign_search.cpp
  core/teacher/torch_file/state_dict.cpp
  core/teacher/torch_file/state_dict_keys.cpp
  core/teacher/torch_file/torch_archive.cpp
  core/teacher/torch_file/torch_classes.cpp
  core/teacher/torch_file/torch_dicts.cpp
  core/teacher/torch_file/torch_file.cpp
  core/teacher/torch_file/torch_globals.cpp
  core/teacher/torch_file/torch_records.cpp
  core/teacher/torch_file/torch_storages.cpp
  core/teacher/torch_file/torch_tensor.cpp
  core/teacher/torch_file/torch_tensors.cpp
  core/teacher/torch_file/zip_directory.cpp
)
if(FAKESCORE_HAVE_CUDA)
  target_sources(fakescore PRIVATE core/cuda/device_digest.cpp core/cuda/load_cuda.cpp)
  fakescore_target_cuda_sources(fakescore core/cuda/digest_kernel.cu)
  target_link_libraries(fakescore PRIVATE
    $<BUILD_INTERFACE:fakescore::c10_cuda> $<BUILD_INTERFACE:fakescore::nccl>)
else()
  target_sources(fakescore PRIVATE core/cuda/no_cuda.cpp)
endif()
