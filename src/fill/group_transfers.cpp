#include "fill/group_transfers.hpp"

#include <utility>

#include "fakescore/error.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fill/part_in_file.hpp"
#include "fill/read_teacher.hpp"
#include "fill/readers.hpp"
#include "fill/replay_tape.hpp"
#include "fill/shards.hpp"
#include "tensor/copy_once.hpp"
#include "tensor/storage_bytes.hpp"
#include "transfer/populate.hpp"

namespace fakescore::detail {
namespace {

at::Tensor bytes_on_the_wire(const at::Tensor& value, at::ScalarType dtype) {
  return element_bytes(value.resolve_conj().resolve_neg().to(dtype).contiguous());
}

/// What this rank holds of a tensor of the teacher: a view of it, where `read` gives one.
at::Tensor read_part(const DescribedTarget& described, Teacher& teacher,
                     const GroupPlan::Fill& fill, at::Device device) {
  const at::Tensor value =
      read_teacher(teacher, fill.teacher, described.whole.specs()[fill.spec], device);
  if (teacher.tensors()[fill.teacher].shard) return value;
  return box_of(value, described.manifest.specs()[fill.spec].shard);
}

/// Where elements that were filled share memory, none may have overwritten what another brought.
void check_overlaps(const GroupPlan& group, const DescribedTarget& described, Teacher& teacher,
                    const Storages& storages, at::Device device) {
  const Manifest& manifest = described.manifest;
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
    const at::Tensor wanted = read_part(described, teacher, fill, device).to(spec.dtype);
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
  const bool is_new =
      described.target.storage == StoragePolicy::kAllocate && !described.is_shard(group.group);
  if (is_new && storage.is_cpu()) populate_pages(storage.mutable_data_ptr(), storage.nbytes());
  for (const auto& fill : group.fills) {
    copy_once(storages.tensor(fill.spec), read_part(described, teacher, fill, device));
  }
  check_overlaps(group, described, teacher, storages, device);
}

/// The source of one tensor of the teacher, which travels as it is or in the dtype of what it
/// fills.
Source make_wire_source(const DescribedTarget& described, const GroupPlan& group, Teacher& teacher,
                        at::Device device) {
  const size_t index = group.fills.front().teacher;
  if (group.mode == FillMode::kInPlace) {
    if (auto bytes = teacher.file_bytes(index)) return InFile{std::move(bytes)};
  }
  const at::ScalarType dtype = group.mode == FillMode::kCast
                                   ? group.wire
                                   : described.whole.first_of_group(group.group).dtype;
  // A teacher may say where a tensor is and return another: it goes where it was said to be.
  const bool is_on_device = !device.is_cpu() && !teacher.tensors()[index].device.is_cpu();
  auto open = [&teacher, index, dtype, to = is_on_device ? device : at::Device(at::kCPU)] {
    return bytes_on_the_wire(teacher.read(index).to(to), dtype);
  };
  if (is_on_device) return OnDevice{std::move(open)};
  return InHostMemory{std::move(open)};
}

/// The source of a group on a rank that reads.
Source make_source(const FillContext& context, const DescribedTarget& described,
                   const PlannedFill& planned, const GroupPlan& group, const Storages& storages) {
  Teacher& teacher = *planned.teacher;
  if (group.fills.empty()) return InDestination{};
  const at::Device device = context.device;
  const bool is_shard = described.is_shard(group.group);
  if (is_shard) {
    const auto& shard = described.manifest.first_of_group(group.group).shard;
    if (auto bytes = part_in_file(group, described, teacher, *shard)) {
      return InFile{std::move(bytes)};
    }
  }
  if (is_shard || group.mode == FillMode::kAssemble || group.mode == FillMode::kReplay) {
    return InDestination{[&group, &described, &teacher, &storages, device] {
      assemble(group, described, teacher, storages, device);
    }};
  }
  return make_wire_source(described, group, teacher, device);
}

/// What this rank holds of a group.
Transfer make_transfer(const FillContext& context, const DescribedTarget& described,
                       const PlannedFill& planned, const GroupPlan& group, const Storages& storages,
                       int root) {
  Transfer transfer;
  transfer.name = described.manifest.first_of_group(group.group).name;
  transfer.layout = transfer_layout(group, described.manifest, described.occupied);
  transfer.layout.root = root;
  transfer.destination = storages.bytes(group.group);
  if (planned.teacher && (planned.every_rank_reads() || context.communicator.rank() == root)) {
    transfer.source = make_source(context, described, planned, group, storages);
  }
  // A part that was copied into its place is as it is to be.
  const bool is_in_place = std::holds_alternative<InDestination>(transfer.source);
  if (is_in_place && described.is_shard(group.group)) transfer.layout.cast.reset();
  return transfer;
}

/// A tensor of which each rank keeps its part, or all; without a source.
Transfer make_cut(const FillContext& context, const DescribedTarget& described,
                  const GroupPlan& group, const Storages& storages) {
  const TensorSpec& spec = described.manifest.first_of_group(group.group);
  const TensorSpec& whole = described.whole.first_of_group(group.group);
  const size_t element_bytes = c10::elementSize(spec.dtype);
  Transfer transfer;
  transfer.name = spec.name;
  const ByteRange all{0, static_cast<size_t>(element_count(whole)) * element_bytes};
  transfer.layout.ranges = {all};
  if (group.mode == FillMode::kCast) transfer.layout.cast = Cast{group.wire, spec.dtype};
  transfer.layout.is_cut = true;
  transfer.layout.root = context.options.root;
  transfer.destination = storages.bytes(group.group);
  transfer.cut =
      Cut{shard_of(spec), static_cast<size_t>(spec.storage_offset) * element_bytes, element_bytes};
  return transfer;
}

/// What the root has whole.
Transfer make_cut_of_root(const FillContext& context, const DescribedTarget& described,
                          const GroupPlan& group, Teacher* teacher, const Storages& storages) {
  Transfer transfer = make_cut(context, described, group, storages);
  if (!context.is_root()) return transfer;
  if (group.mode == FillMode::kReplay) {
    const size_t index = described.manifest.index_of_first(group.group);
    transfer.source = InHostMemory{[&described, index] {
      const FillTarget& target = described.target;
      const TensorSpec& spec = described.manifest.specs()[index];
      const auto values = replay_tape(target.tape, {recorded_tensor(target, index)}, spec.name);
      return bytes_on_the_wire(values.front(), spec.dtype);
    }};
  } else if (!group.fills.empty()) {
    transfer.source = make_wire_source(described, group, *teacher, context.device);
  }
  return transfer;
}

/// What ranks read, each its share, into its place, from where it goes on as it is stored.
Transfer make_cut_of_readers(const FillContext& context, const DescribedTarget& described,
                             const GroupPlan& group, Teacher& teacher, const Storages& storages) {
  Transfer transfer = make_cut(context, described, group, storages);
  transfer.layout.cast.reset();
  // Of one that is put together from several, each rank would put together all.
  transfer.cut->has_shares =
      !group.fills.empty() && teacher.file_bytes(group.fills.front().teacher) != nullptr;
  return transfer;
}

/// What ranks have in parts, this one its own.
Transfer make_cut_of_parts(const FillContext& context, const DescribedTarget& described,
                           const GroupPlan& group, Teacher& teacher, const Storages& storages) {
  Transfer transfer = make_cut(context, described, group, storages);
  const size_t index = group.fills.front().teacher;
  transfer.cut->held = teacher.tensors()[index].shard->box;
  const at::ScalarType dtype = transfer.layout.cast
                                   ? transfer.layout.cast->wire
                                   : described.manifest.first_of_group(group.group).dtype;
  auto open = [&teacher, index, dtype, device = context.device] {
    return bytes_on_the_wire(teacher.read(index).to(device), dtype);
  };
  if (context.device.is_cpu()) {
    transfer.source = InHostMemory{std::move(open)};
  } else {
    transfer.source = OnDevice{std::move(open)};
  }
  return transfer;
}

/// Whether the ranks have a group's tensor of the teacher in parts, which are to go elsewhere.
bool is_redistributed(const PlannedFill& planned, const GroupPlan& group) {
  if (!planned.redistributes || group.fills.empty()) return false;
  return planned.teacher->tensors()[group.fills.front().teacher].shard.has_value();
}

uint64_t whole_bytes_of(const DescribedTarget& described, const GroupPlan& group) {
  return wire_bytes(transfer_layout(group, described.whole, described.whole_occupied));
}

/// By group, the rank that has a tensor of the teacher for the others.
std::vector<int> readers_of(const FillContext& context, const DescribedTarget& described,
                            const PlannedFill& planned) {
  const std::vector<GroupPlan>& groups = planned.plan.groups;
  if (!planned.reads_in_turns()) {
    return std::vector<int>(groups.size(), context.options.root);
  }
  std::vector<uint64_t> bytes;
  bytes.reserve(groups.size());
  for (const GroupPlan& group : groups) {
    // Of shards each reads some.
    bytes.push_back(described.is_shard(group.group) ? 0 : whole_bytes_of(described, group));
  }
  return share_reading(bytes, context.communicator.world_size());
}

}  // namespace

std::vector<Transfer> make_transfers(const FillContext& context, const DescribedTarget& described,
                                     const PlannedFill& planned, const Storages& storages,
                                     GroupsToMove groups) {
  const bool reads_own = planned.every_rank_reads() || context.communicator.world_size() == 1;
  const std::vector<int> readers = readers_of(context, described, planned);
  std::vector<Transfer> transfers;
  for (size_t i = 0; i < planned.plan.groups.size(); ++i) {
    const GroupPlan& group = planned.plan.groups[i];
    const bool is_replayed = group.mode == FillMode::kReplay;
    const bool is_shard = described.is_shard(group.group);
    if (is_replayed != (groups == GroupsToMove::kReplayed)) continue;
    if (group.mode == FillMode::kReplayOnEach) continue;
    // What is given and not in the teacher is the root's, but of a shard, which each rank keeps.
    if (is_replayed && is_shard && described.target.storage == StoragePolicy::kGiven) continue;
    Transfer transfer =
        is_redistributed(planned, group)
            ? make_cut_of_parts(context, described, group, *planned.teacher, storages)
        : is_shard && !is_replayed && planned.reads_in_turns()
            ? make_cut_of_readers(context, described, group, *planned.teacher, storages)
        : is_shard && (is_replayed || !reads_own)
            ? make_cut_of_root(context, described, group, planned.teacher.get(), storages)
            : make_transfer(context, described, planned, group, storages,
                            is_replayed ? context.options.root : readers[i]);
    transfer.group = i;
    transfer.whole_bytes = whole_bytes_of(described, group);
    transfers.push_back(std::move(transfer));
  }
  return transfers;
}

}  // namespace fakescore::detail
