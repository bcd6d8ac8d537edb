if(FAKESCORE_TORCH_HAS_DEFERRED_INIT)
  set(recording_key meta/recording_key.cpp)
else()
  set(recording_key meta/no_recording_key.cpp)
endif()
fakescore_add_unit(fakescore_objects meta
  meta/fallback.cpp
  meta/fingerprint.cpp
  meta/guard.cpp
  meta/op_info.cpp
  meta/recorder.cpp
  ${recording_key}
  meta/replay.cpp
  meta/seeding.cpp
  meta/tape.cpp)
