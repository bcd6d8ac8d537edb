fakescore_add_unit(fakescore_objects error
  error/error.cpp
  error/error_codec.cpp)
