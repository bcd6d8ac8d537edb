fakescore_add_unit(fakescore_objects models
  models/checkpoint_module.cpp
  models/dit.cpp
  models/dit_block.cpp
  models/dit_config.cpp
  models/dit_embeddings.cpp
  models/json_object.cpp
  models/registry.cpp)
