#include "comm/agreement.hpp"
#include "core/copy_once.hpp"
#include "factory/meta_job.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "sync/options_check.hpp"
#include "sync/populate.hpp"
#include "sync/storage_bytes.hpp"

namespace fakescore::detail {
namespace {

constexpr uint64_t kBytesBetweenAgreements = uint64_t{1} << 30;

}  // namespace

void MetaJob::move() {
  const std::vector<Transfer> transfers = make_transfers(/*replayed=*/false);
  if (every_rank_reads()) {
    read_on_every_rank(transfers);
  } else {
    broadcast(transfers, "move");
  }
}

/// Each rank streams to itself alone. Now and then all agree that they are still there, so that a
/// slow rank is not taken for a lost one, and a failed one stops the others.
void MetaJob::read_on_every_rank(const std::vector<Transfer>& transfers) {
  PipelineOptions options = pipeline_options("move");
  options.root = 0;
  uint64_t total = 0;
  for (const Transfer& transfer : transfers) total += wire_bytes(transfer.layout);
  uint64_t done = 0;
  if (options_.progress) {
    options.progress = [this, total, &done](const Progress& progress) {
      options_.progress({progress.phase, done + progress.done_bytes, total});
    };
  }
  for (auto begin = transfers.begin(); begin != transfers.end();) {
    auto end = begin;
    for (uint64_t bytes = 0; end != transfers.end() && bytes < kBytesBetweenAgreements; ++end) {
      bytes += wire_bytes(end->layout);
    }
    const PipelineResult result = read_alone({begin, end}, options);
    agree(communicator_, "move", result.failure);
    done += result.bytes;
    begin = end;
  }
  count_bytes(done);
}

/// Whatever fails is this rank's failure, for all to hear of.
PipelineResult MetaJob::read_alone(const std::vector<Transfer>& transfers,
                                   const PipelineOptions& options) {
  PipelineResult result;
  const auto work = communicator_.begin_work(options.phase);
  try {
    const auto alone = make_local_communicators(1, communicator_.timeout());
    result = broadcast_transfers(*alone.front(), transfers, options);
  } catch (...) {
    result.failure = describe_current_exception(communicator_.rank(), options.phase);
  }
  // To a communicator of one, it is rank 0.
  if (result.failure) result.failure->rank = communicator_.rank();
  return result;
}

std::vector<Transfer> MetaJob::make_transfers(bool replayed) {
  std::vector<Transfer> transfers;
  for (const GroupPlan& group : plan_.groups) {
    if ((group.mode == FillMode::kReplay) == replayed) transfers.push_back(make_transfer(group));
  }
  return transfers;
}

PipelineOptions MetaJob::pipeline_options(const std::string& phase) const {
  return {options_.root, bucket_bytes_for(device_, options_.bucket_bytes), options_.pinned_bytes,
          phase, options_.progress};
}

void MetaJob::broadcast(const std::vector<Transfer>& transfers, const std::string& phase) {
  const auto result =
      broadcast_transfers(data_plane_->communicator(), transfers, pipeline_options(phase));
  agree(communicator_, phase, result.failure);
  count_bytes(result.bytes);
}

void MetaJob::count_bytes(uint64_t bytes) {
  report_.phases.back().bytes = bytes;
  report_.bytes += bytes;
}

/// A teacher may lie on another GPU than the fake score, or on one while that is on the CPU.
at::Tensor MetaJob::read_teacher(size_t index) {
  const at::Tensor tensor = teacher_->read(index);
  return tensor.is_cpu() || tensor.device() == device_ ? tensor : tensor.to(device_);
}

Transfer MetaJob::make_transfer(const GroupPlan& group) {
  Transfer transfer;
  transfer.name = manifest_.first_of_group(group.group).name;
  transfer.layout = transfer_layout(group, manifest_, occupied_);
  transfer.destination = placement_->bytes(group.group);
  if (group.fills.empty() || (!is_root() && !every_rank_reads())) return transfer;
  if (group.mode == FillMode::kInPlace || group.mode == FillMode::kCast) {
    transfer.reads_host_memory = teacher_->tensors()[group.fills.front().teacher].device.is_cpu();
    if (group.mode == FillMode::kInPlace && device_.is_cpu()) {
      transfer.file_bytes = teacher_->file_bytes(group.fills.front().teacher);
    }
    transfer.open_source = [this, index = group.fills.front().teacher] {
      return element_bytes(read_teacher(index).resolve_conj().resolve_neg().contiguous());
    };
  } else {
    transfer.open_source = [this, &group] {
      assemble(group);
      return at::Tensor();
    };
  }
  return transfer;
}

void MetaJob::assemble(const GroupPlan& group) {
  const at::Tensor& storage = placement_->bytes(group.group);
  if (storage.is_cpu()) populate_pages(storage.mutable_data_ptr(), storage.nbytes());
  for (const auto& fill : group.fills) {
    copy_once(placement_->tensor(fill.spec), read_teacher(fill.teacher));
  }
  check_overlaps(group);
}

/// Where elements that were filled share memory, none may have overwritten what another brought.
void MetaJob::check_overlaps(const GroupPlan& group) {
  size_t filled = 0;
  std::vector<ByteRange> ranges;
  for (const auto& fill : group.fills) {
    const TensorSpec& spec = manifest_.specs()[fill.spec];
    filled += static_cast<size_t>(element_count(spec)) * c10::elementSize(spec.dtype);
    const auto occupied = occupied_bytes(spec);
    ranges.insert(ranges.end(), occupied.begin(), occupied.end());
  }
  size_t distinct = 0;
  for (const ByteRange& range : merge(std::move(ranges))) distinct += range.size();
  if (filled == distinct) return;
  for (const auto& fill : group.fills) {
    const TensorSpec& spec = manifest_.specs()[fill.spec];
    const at::Tensor wanted = read_teacher(fill.teacher).to(spec.dtype);
    if (digest_tensor(placement_->tensor(fill.spec)) == digest_tensor(wanted)) continue;
    throw_error({ErrorCode::kTeacher, -1, "", spec.name,
                 "shares memory, within itself or with other tensors of the module, for which the "
                 "teacher holds contradictory values",
                 "build a module that does not share this memory, or correct the teacher"});
  }
}

}  // namespace fakescore::detail
