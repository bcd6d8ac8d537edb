#include "fill/fill_plan.hpp"

namespace fakescore::detail {

bool same_view(const TensorSpec& a, const TensorSpec& b) {
  return a.dtype == b.dtype && a.sizes == b.sizes && a.strides == b.strides &&
         a.storage_offset == b.storage_offset && a.conj == b.conj && a.neg == b.neg;
}

TransferLayout transfer_layout(const GroupPlan& group, const Manifest& manifest,
                               const std::vector<std::vector<ByteRange>>& occupied) {
  TransferLayout layout{occupied[static_cast<size_t>(group.group)]};
  if (group.mode == FillMode::kCast) {
    layout.cast = Cast{group.wire, manifest.first_of_group(group.group).dtype};
  }
  return layout;
}

}  // namespace fakescore::detail
