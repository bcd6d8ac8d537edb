#pragma once

#include <nccl.h>

#include <memory>
#include <string>

#include "nccl/communicator.hpp"

namespace fakescore::emulation {

/// Communicators by handle. An unknown handle, a destroyed one say, finds null.
std::shared_ptr<Communicator> find_communicator(ncclComm_t handle);
ncclComm_t add_communicator(std::shared_ptr<Communicator> communicator);
/// Null where the handle is unknown, so that only one caller gets to destroy.
std::shared_ptr<Communicator> take_communicator(ncclComm_t handle);

/// What ncclGetLastError says.
const char* last_nccl_error();
void set_last_nccl_error(const std::string& text);

}  // namespace fakescore::emulation
