target_sources(fakescore PRIVATE
  core/error.cpp
)
