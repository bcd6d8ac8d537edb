target_sources(fakescore PRIVATE
)
