fakescore_add_unit(fakescore_objects meta
  meta/fallback.cpp
  meta/guard.cpp
  meta/op_info.cpp
  meta/recorder.cpp
  meta/replay.cpp
  meta/seeding.cpp
  meta/tape.cpp)
