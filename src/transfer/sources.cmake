fakescore_add_unit(fakescore_objects transfer
  transfer/broadcast_transfers.cpp
  transfer/bucket_plan.cpp
  transfer/copy_transfers.cpp
  transfer/cut.cpp
  transfer/device_exchange.cpp
  transfer/device_pipeline.cpp
  transfer/exchange_rounds.cpp
  transfer/exchange_transfers.cpp
  transfer/flight_plan.cpp
  transfer/host_exchange.cpp
  transfer/host_pipeline.cpp
  transfer/land.cpp
  transfer/pinned_reader.cpp
  transfer/populate.cpp
  transfer/root_feed.cpp
  transfer/transfer.cpp
  transfer/verify.cpp)
