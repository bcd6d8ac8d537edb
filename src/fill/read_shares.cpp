#include "fill/read_shares.hpp"

#include <utility>

#include "fill/part_in_file.hpp"
#include "fill/read_teacher.hpp"
#include "fill/shards.hpp"
#include "tensor/copy_once.hpp"

namespace fakescore::detail {
namespace {

/// A share of the whole tensor, as a box of the rank's part.
Shard within_part(const Shard& own, const Box& share) {
  Shard within{own.box.sizes, share};
  for (size_t dim = 0; dim < share.offsets.size(); ++dim) {
    within.box.offsets[dim] -= own.box.offsets[dim];
  }
  return within;
}

Shard with_box(Shard shard, const Box& box) {
  shard.box = box;
  return shard;
}

/// Copies a share of a part into its place in it.
void read_share(const DescribedTarget& described, const GroupPlan& group, Teacher& teacher,
                const Storages& storages, const Shard& own, const Box& share, at::Device device) {
  const auto& fill = group.fills.front();
  const at::Tensor whole =
      read_teacher(teacher, fill.teacher, described.whole.specs()[fill.spec], device);
  copy_once(box_of(storages.tensor(fill.spec), within_part(own, share)),
            box_of(whole, with_box(own, share)));
}

/// Shares are neighbouring elements of their rank's part.
ByteRange place_of(const Cut& cut, const Box& share) {
  const ByteRange place = stretch_of(within_part(cut.own, share), cut.element_bytes).value();
  return {cut.begin + place.begin, cut.begin + place.end};
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
      if (auto bytes = part_in_file(group, described, teacher, with_box(cut.own, share))) {
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
