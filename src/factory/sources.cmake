fakescore_add_unit(fakescore_objects factory
  factory/cast_module.cpp
  factory/create_fake_score.cpp
  factory/create_fake_score_meta.cpp
  factory/device_memory.cpp
  factory/dtype_choice.cpp
  factory/host_memory.cpp
  factory/load_plan.cpp
  factory/load_plan_codec.cpp
  factory/meta_job.cpp
  factory/meta_move.cpp
  factory/meta_report.cpp
  factory/meta_structure.cpp
  factory/placement.cpp
  factory/plan_fake_score.cpp
  factory/read_agreement.cpp)
