#include "nccl/operation.hpp"

#include <array>

namespace fakescore::emulation {
namespace {

struct TypeInfo {
  const char* name;
  size_t bytes;
};

/// In the order of ncclDataType_t.
constexpr std::array<TypeInfo, 12> kTypes{{{"ncclInt8", 1},
                                           {"ncclUint8", 1},
                                           {"ncclInt32", 4},
                                           {"ncclUint32", 4},
                                           {"ncclInt64", 8},
                                           {"ncclUint64", 8},
                                           {"ncclFloat16", 2},
                                           {"ncclFloat32", 4},
                                           {"ncclFloat64", 8},
                                           {"ncclBfloat16", 2},
                                           {"ncclFloat8e4m3", 1},
                                           {"ncclFloat8e5m2", 1}}};

}  // namespace

size_t size_of(ncclDataType_t type) { return kTypes.at(static_cast<size_t>(type)).bytes; }

uint64_t NcclOperation::bytes() const { return count * size_of(type); }

Signature NcclOperation::signature() const {
  const bool is_rooted = kind == NcclKind::kBroadcast || kind == NcclKind::kReduce;
  const bool reduces =
      kind == NcclKind::kAllReduce || kind == NcclKind::kReduce || kind == NcclKind::kReduceScatter;
  return {static_cast<int32_t>(kind), static_cast<int32_t>(type),
          reduces ? static_cast<int32_t>(reduction) : -1, is_rooted ? peer : -1, count};
}

const char* name_of(NcclKind kind) {
  switch (kind) {
    case NcclKind::kBroadcast:
      return "ncclBroadcast";
    case NcclKind::kAllGather:
      return "ncclAllGather";
    case NcclKind::kAllReduce:
      return "ncclAllReduce";
    case NcclKind::kReduce:
      return "ncclReduce";
    case NcclKind::kReduceScatter:
      return "ncclReduceScatter";
    case NcclKind::kSend:
      return "ncclSend";
    case NcclKind::kRecv:
      return "ncclRecv";
  }
  return "?";
}

std::string describe_elements(uint64_t count, int type) {
  return std::to_string(count) + " " + kTypes.at(static_cast<size_t>(type)).name;
}

std::string describe(const Signature& signature) {
  std::string text = name_of(static_cast<NcclKind>(signature.kind));
  text += " of " + describe_elements(signature.count, signature.type);
  if (signature.reduction >= 0) text += ", reduction " + std::to_string(signature.reduction);
  if (signature.root >= 0) text += ", root " + std::to_string(signature.root);
  return text;
}

}  // namespace fakescore::emulation
