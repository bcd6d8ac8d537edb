#pragma once

#include <nccl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "nccl/segment.hpp"

namespace fakescore::emulation {

enum class NcclKind { kBroadcast, kAllGather, kAllReduce, kReduce, kReduceScatter, kSend, kRecv };

/// One call, as its caller made it.
struct NcclOperation {
  NcclKind kind = NcclKind::kBroadcast;
  const void* input = nullptr;
  void* output = nullptr;
  uint64_t count = 0;
  ncclDataType_t type = ncclUint8;
  ncclRedOp_t reduction = ncclSum;
  int peer = -1;  ///< the root of a rooted collective, the other side of a message

  bool is_message() const { return kind == NcclKind::kSend || kind == NcclKind::kRecv; }
  uint64_t bytes() const;  ///< `count` elements
  Signature signature() const;
};

size_t size_of(ncclDataType_t type);

const char* name_of(NcclKind kind);
/// `ncclBroadcast of 12 ncclFloat32 from rank 0`.
std::string describe(const Signature& signature);
std::string describe_elements(uint64_t count, int type);

}  // namespace fakescore::emulation
