fakescore_add_unit(fakescore_objects core
  core/broken_device.cpp
  core/digest.cpp
  core/error.cpp
  core/error_codec.cpp
  core/manifest.cpp
  core/module_tensors.cpp
  core/name_pattern.cpp)
fakescore_add_unit(fakescore_objects core_meta
  core/meta/fallback.cpp
  core/meta/guard.cpp
  core/meta/op_info.cpp
  core/meta/recorder.cpp
  core/meta/replay.cpp
  core/meta/seeding.cpp
  core/meta/tape.cpp)
fakescore_add_unit(fakescore_objects core_teacher
  core/teacher/checkpoint_file.cpp
  core/teacher/checkpoint_folder.cpp
  core/teacher/checkpoint_index.cpp
  core/teacher/checkpoint_teacher.cpp
  core/teacher/choose_checkpoint.cpp
  core/teacher/file_numbers.cpp
  core/teacher/file_text.cpp
  core/teacher/folder_config.cpp
  core/teacher/folder_listing.cpp
  core/teacher/foreign_file.cpp
  core/teacher/json_events.cpp
  core/teacher/key_rule.cpp
  core/teacher/mapped_file.cpp
  core/teacher/memory_teacher.cpp
  core/teacher/numbered_shards.cpp
  core/teacher/open_teacher.cpp
  core/teacher/renamed_teacher.cpp
  core/teacher/safetensors_dtype.cpp
  core/teacher/safetensors_file.cpp
  core/teacher/safetensors_header.cpp
  core/teacher/safetensors_writer.cpp
  core/teacher/teacher_source.cpp
  core/teacher/weight_names.cpp)
fakescore_add_unit(fakescore_objects core_teacher_dcp
  core/teacher/dcp/chunk_files.cpp
  core/teacher/dcp/dcp_fields.cpp
  core/teacher/dcp/dcp_metadata.cpp
  core/teacher/dcp/key_choice.cpp
  core/teacher/dcp/open_distributed.cpp
  core/teacher/dcp/shard_boxes.cpp
  core/teacher/dcp/sharded_safetensors.cpp
  core/teacher/dcp/sharded_teacher.cpp
  core/teacher/dcp/sharded_tensor.cpp)
fakescore_add_unit(fakescore_objects core_teacher_torch_file
  core/teacher/pickle/pickle_arena.cpp
  core/teacher/pickle/pickle_machine.cpp
  core/teacher/pickle/pickle_nesting.cpp
  core/teacher/pickle/pickle_objects.cpp
  core/teacher/pickle/read_pickle.cpp
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
  core/teacher/torch_file/zip_directory.cpp)
if(FAKESCORE_HAVE_CUDA)
  fakescore_add_unit(fakescore_cuda_objects core_cuda
    core/cuda/device_digest.cpp
    core/cuda/load_cuda.cpp)
else()
  target_sources(fakescore_objects PRIVATE core/cuda/no_cuda.cpp)
endif()
