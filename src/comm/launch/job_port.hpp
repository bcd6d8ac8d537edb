#pragma once

#include <cstdint>
#include <string>

#include "fakescore/comm/launch_env.hpp"

namespace fakescore::detail {

/// Ports that no system gives to outgoing connections unless it was told to: Linux' own range
/// begins at 32768. They are the same on every host, since a rank cannot read rank 0's range, and
/// leave out torchrun's 29400 and 29500 and what Kubernetes gives out from 30000.
inline constexpr int kFirstJobPort = 20000;
inline constexpr int kJobPorts = 8000;

/// Jobs that follow each other, and the first steps of one job, have different ports.
int port_of_job(int64_t job, int64_t step);

/// What to do where the store of `env` cannot be served or reached.
std::string store_remedy(const LaunchEnv& env);

}  // namespace fakescore::detail
