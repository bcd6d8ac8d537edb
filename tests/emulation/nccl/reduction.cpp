#include "nccl/reduction.hpp"

#include <algorithm>
#include <cstdint>

#include "nccl/small_floats.hpp"
#include "runtime/fatal.hpp"

namespace fakescore::emulation {
namespace {

template <class Wide>
Wide combine(Wide left, Wide right, ncclRedOp_t reduction) {
  switch (reduction) {
    case ncclProd:
      return static_cast<Wide>(left * right);
    case ncclMax:
      return std::max(left, right);
    case ncclMin:
      return std::min(left, right);
    case ncclSum:
    case ncclAvg:
      return static_cast<Wide>(left + right);
    default:
      not_emulated("a reduction that was made with ncclRedOpCreate");
  }
}

/// Adds up in `Wide`, stores as `Element`.
template <class Element, class Wide = Element>
void reduce_typed(const std::vector<const char*>& inputs, char* output, size_t count,
                  ncclRedOp_t reduction) {
  auto* const results = reinterpret_cast<Element*>(output);
  for (size_t i = 0; i < count; ++i) {
    auto total = static_cast<Wide>(reinterpret_cast<const Element*>(inputs.front())[i]);
    for (size_t rank = 1; rank < inputs.size(); ++rank) {
      const auto next = static_cast<Wide>(reinterpret_cast<const Element*>(inputs[rank])[i]);
      total = combine(total, next, reduction);
    }
    if (reduction == ncclAvg) total = static_cast<Wide>(total / static_cast<Wide>(inputs.size()));
    results[i] = static_cast<Element>(total);
  }
}

}  // namespace

void reduce_elements(const std::vector<const char*>& inputs, char* output, size_t count,
                     ncclDataType_t type, ncclRedOp_t reduction) {
  switch (type) {
    case ncclInt8:
      return reduce_typed<int8_t>(inputs, output, count, reduction);
    case ncclUint8:
      return reduce_typed<uint8_t>(inputs, output, count, reduction);
    case ncclInt32:
      return reduce_typed<int32_t>(inputs, output, count, reduction);
    case ncclUint32:
      return reduce_typed<uint32_t>(inputs, output, count, reduction);
    case ncclInt64:
      return reduce_typed<int64_t>(inputs, output, count, reduction);
    case ncclUint64:
      return reduce_typed<uint64_t>(inputs, output, count, reduction);
    case ncclFloat16:
      return reduce_typed<Float16, float>(inputs, output, count, reduction);
    case ncclBfloat16:
      return reduce_typed<Bfloat16, float>(inputs, output, count, reduction);
    case ncclFloat32:
      return reduce_typed<float>(inputs, output, count, reduction);
    case ncclFloat64:
      return reduce_typed<double>(inputs, output, count, reduction);
    default:
      not_emulated("a reduction of eight-bit floating point numbers");
  }
}

}  // namespace fakescore::emulation
