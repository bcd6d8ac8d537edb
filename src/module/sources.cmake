fakescore_add_unit(fakescore_objects module
  module/build_target.cpp
  module/create_fake_score.cpp
  module/create_fake_score_meta.cpp
  module/module_source.cpp
  module/module_tensors.cpp
  module/plan_fake_score.cpp
  module/sync_module_states.cpp)
