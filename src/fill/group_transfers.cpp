#include "fill/group_transfers.hpp"

#include <utility>

#include "fakescore/error.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fill/read_teacher.hpp"
#include "tensor/copy_once.hpp"
#include "tensor/storage_bytes.hpp"
#include "transfer/populate.hpp"

namespace fakescore::detail {
namespace {

/// Where elements that were filled share memory, none may have overwritten what another brought.
void check_overlaps(const GroupPlan& group, const Manifest& manifest, Teacher& teacher,
                    const Storages& storages, at::Device device) {
  size_t filled = 0;
  std::vector<ByteRange> ranges;
  for (const auto& fill : group.fills) {
    const TensorSpec& spec = manifest.specs()[fill.spec];
    filled += static_cast<size_t>(element_count(spec)) * c10::elementSize(spec.dtype);
    const auto occupied = occupied_bytes(spec);
    ranges.insert(ranges.end(), occupied.begin(), occupied.end());
  }
  size_t distinct = 0;
  for (const ByteRange& range : merge(std::move(ranges))) distinct += range.size();
  if (filled == distinct) return;
  for (const auto& fill : group.fills) {
    const TensorSpec& spec = manifest.specs()[fill.spec];
    const at::Tensor wanted = read_teacher(teacher, fill.teacher, spec, device).to(spec.dtype);
    if (digest_tensor(storages.tensor(fill.spec)) == digest_tensor(wanted)) continue;
    throw TeacherError(
        spec.name,
        "shares memory, within itself or with other tensors of the module, for which the "
        "teacher holds contradictory values",
        "build a module that does not share this memory, or correct the teacher");
  }
}

/// Copies the teacher's tensors of a group into its storage.
void assemble(const GroupPlan& group, const DescribedTarget& described, Teacher& teacher,
              const Storages& storages, at::Device device) {
  const at::Tensor& storage = storages.bytes(group.group);
  // Given memory has pages already, or is a small part of its storage.
  const bool is_new = described.target.storage == StoragePolicy::kAllocate;
  if (is_new && storage.is_cpu()) populate_pages(storage.mutable_data_ptr(), storage.nbytes());
  for (const auto& fill : group.fills) {
    copy_once(storages.tensor(fill.spec),
              read_teacher(teacher, fill.teacher, described.manifest.specs()[fill.spec], device));
  }
  check_overlaps(group, described.manifest, teacher, storages, device);
}

/// The source of a group on a rank that reads.
Source make_source(const FillContext& context, const DescribedTarget& described,
                   const GroupPlan& group, Teacher& teacher, const Storages& storages) {
  if (group.fills.empty()) return InDestination{};
  const at::Device device = context.device;
  if (group.mode == FillMode::kAssemble || group.mode == FillMode::kReplay) {
    return InDestination{[&group, &described, &teacher, &storages, device] {
      assemble(group, described, teacher, storages, device);
    }};
  }
  const size_t index = group.fills.front().teacher;
  if (group.mode == FillMode::kInPlace) {
    if (auto bytes = teacher.file_bytes(index)) return InFile{std::move(bytes)};
  }
  // A teacher may say where a tensor is and return another: it goes where it was said to be.
  const bool is_on_device = !device.is_cpu() && !teacher.tensors()[index].device.is_cpu();
  auto open = [&teacher, index, to = is_on_device ? device : at::Device(at::kCPU)] {
    const at::Tensor tensor = teacher.read(index).to(to);
    return element_bytes(tensor.resolve_conj().resolve_neg().contiguous());
  };
  if (is_on_device) return OnDevice{std::move(open)};
  return InHostMemory{std::move(open)};
}

}  // namespace

std::vector<Transfer> make_transfers(const FillContext& context, const DescribedTarget& described,
                                     const PlannedFill& planned, const Storages& storages,
                                     GroupsToMove groups) {
  const bool reads = context.is_root() || planned.every_rank_reads();
  std::vector<Transfer> transfers;
  for (const GroupPlan& group : planned.plan.groups) {
    const bool is_replayed = group.mode == FillMode::kReplay;
    if (is_replayed != (groups == GroupsToMove::kReplayed)) continue;
    Transfer transfer;
    transfer.name = described.manifest.first_of_group(group.group).name;
    transfer.layout = transfer_layout(group, described.manifest, described.occupied);
    transfer.destination = storages.bytes(group.group);
    if (reads) {
      transfer.source = make_source(context, described, group, *planned.teacher, storages);
    }
    transfers.push_back(std::move(transfer));
  }
  return transfers;
}

}  // namespace fakescore::detail
