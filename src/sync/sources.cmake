target_sources(fakescore PRIVATE
  sync/agreement.cpp
  sync/broadcast_pipeline.cpp
  sync/bucket_plan.cpp
  sync/byte_ranges.cpp
  sync/populate.cpp
  sync/run_agreed.cpp
  sync/sync_module_states.cpp
  sync/verify.cpp
)
