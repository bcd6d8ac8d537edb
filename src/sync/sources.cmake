fakescore_add_unit(fakescore_objects sync
  sync/broadcast_pipeline.cpp
  sync/bucket_plan.cpp
  sync/byte_ranges.cpp
  sync/device_pipeline.cpp
  sync/flight_plan.cpp
  sync/manifest_agreement.cpp
  sync/pinned_reader.cpp
  sync/populate.cpp
  sync/sync_module_states.cpp
  sync/verify.cpp)
