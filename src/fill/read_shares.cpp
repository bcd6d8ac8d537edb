#include "fill/read_shares.hpp"

#include <utility>

#include "fill/part_in_file.hpp"
#include "fill/read_teacher.hpp"
#include "fill/shards.hpp"
#include "tensor/copy_once.hpp"

namespace fakescore::detail {
namespace {

/// Copies a share of a part into its place in it.
void read_share(const DescribedTarget& described, const GroupPlan& group, Teacher& teacher,
                const Storages& storages, const Shard& own, const Box& share, at::Device device) {
  const auto& fill = group.fills.front();
  Box within = share;
  for (size_t dim = 0; dim < within.offsets.size(); ++dim) {
    within.offsets[dim] -= own.box.offsets[dim];
  }
  const at::Tensor whole =
      read_teacher(teacher, fill.teacher, described.whole.specs()[fill.spec], device);
  copy_once(box_of(storages.tensor(fill.spec), Shard{own.box.sizes, within}),
            box_of(whole, Shard{own.global_sizes, share}));
}

/// Shares are neighbouring elements of their rank's part, which is row-major.
ByteRange place_of(const Cut& cut, const Box& share) {
  int64_t first = 0;
  int64_t count = 1;
  for (size_t dim = 0; dim < share.sizes.size(); ++dim) {
    first = first * cut.own.global_sizes[dim] + share.offsets[dim];
    count *= share.sizes[dim];
  }
  const size_t begin =
      cut.begin + static_cast<size_t>(index_in_box(cut.own, first)) * cut.element_bytes;
  return {begin, begin + static_cast<size_t>(count) * cut.element_bytes};
}

}  // namespace

std::vector<Transfer> shares_to_read(const FillContext& context, const DescribedTarget& described,
                                     const PlannedFill& planned, const Storages& storages,
                                     const std::vector<Transfer>& cuts) {
  std::vector<Transfer> shares;
  for (const Transfer& transfer : cuts) {
    const Cut& cut = *transfer.cut;
    const GroupPlan& group = planned.plan.groups[transfer.group];
    if (group.fills.empty()) continue;
    for (const Box& share : cut.reads) {
      Transfer reading;
      reading.name = transfer.name;
      reading.destination = transfer.destination;
      reading.layout.ranges = {place_of(cut, share)};
      Teacher& teacher = *planned.teacher;
      if (auto bytes = part_in_file(group, described, teacher, {cut.own.global_sizes, share})) {
        reading.source = InFile{std::move(bytes)};
      } else {
        reading.source = InDestination{
            [&described, &group, &teacher, &storages, &cut, &share, device = context.device] {
              read_share(described, group, teacher, storages, cut.own, share, device);
            }};
      }
      shares.push_back(std::move(reading));
    }
  }
  return shares;
}

}  // namespace fakescore::detail
