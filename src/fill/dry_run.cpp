#include "fakescore/fill/dry_run.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fill/check_options.hpp"
#include "fill/described_target.hpp"
#include "fill/match_keys.hpp"
#include "fill/no_inference_mode.hpp"
#include "fill/plan_phase.hpp"
#include "fill/readers.hpp"
#include "fill/send_transfers.hpp"
#include "transfer/flight_plan.hpp"

namespace fakescore {
namespace {

using detail::DescribedTarget;
using detail::FillMode;
using detail::GroupPlan;
using detail::MatchedKeys;

class DryRun {
 public:
  DryRun(const DescribedTarget& described, const Teacher& teacher, const MatchedKeys& matched,
         const FillOptions& options, int world_size)
      : described_(described),
        specs_(described.manifest.specs()),
        teacher_(teacher),
        matched_(matched),
        device_(options.device.value_or(at::kCPU)),
        options_(options) {
    report_.world_size = world_size;
    if (options.read != TeacherRead::kAuto && world_size > 1) report_.read = options.read;
  }

  DryRunReport run() {
    report_.choice = teacher_.choice();
    report_.cast = matched_.keys.cast;
    report_.missing = matched_.keys.missing;
    report_.unexpected = matched_.keys.unexpected;
    report_.skipped = matched_.keys.skipped;
    name_fills();
    name_replayed();
    name_renamed();
    name_shared();
    list_tensors();
    report_.wire_bytes = travel(/*replayed=*/false);
    report_.replayed_bytes = travel(/*replayed=*/true);
    report_.wire_bytes += report_.replayed_bytes;
    add_memory();
    return std::move(report_);
  }

 private:
  void name_fills() {
    for (const GroupPlan& group : matched_.plan.groups) {
      if (group.mode == FillMode::kCast) continue;  // among report_.cast
      auto& names = group.mode == FillMode::kInPlace ? report_.in_place : report_.assembled;
      for (const auto& fill : group.fills) names.push_back(specs_[fill.spec].name);
    }
  }

  void name_replayed() {
    const std::set<std::string> names(matched_.keys.replayed.begin(), matched_.keys.replayed.end());
    for (const TensorSpec& spec : specs_) {
      if (names.contains(spec.name)) report_.replayed.push_back({spec.name, spec.kind});
    }
  }

  void name_renamed() {
    for (const TeacherTensor& tensor : teacher_.tensors()) {
      if (!tensor.stored_name.empty()) report_.renamed.push_back({tensor.stored_name, tensor.name});
    }
  }

  void name_shared() {
    std::vector<std::vector<std::string>> groups(
        static_cast<size_t>(described_.manifest.alias_groups()));
    for (const TensorSpec& spec : specs_) {
      if (spec.kind == TensorKind::kUnregistered) continue;
      groups[static_cast<size_t>(spec.alias_group)].push_back(spec.name);
    }
    for (auto& names : groups) {
      if (names.size() > 1) report_.shared.push_back(std::move(names));
    }
  }

  /// Whether one of the job's two streams goes from one rank to others.
  bool is_sent(bool replayed) const {
    return report_.world_size > 1 && (replayed || report_.read != TeacherRead::kEveryRank);
  }

  void list_tensors() {
    for (const GroupPlan& group : matched_.plan.groups) {
      const TensorSpec& spec = described_.manifest.first_of_group(group.group);
      const bool has_rows = spec.kind == TensorKind::kParameter && !spec.sizes.empty();
      layouts_.push_back(transfer_layout(group, described_.manifest, described_.occupied));
      layouts_.back().root = options_.root;
      report_.tensors.push_back({wire_bytes(layouts_.back()), has_rows ? spec.sizes.front() : 0,
                                 group.mode == FillMode::kReplay,
                                 detail::can_be_passed_on(layouts_.back())});
    }
    if (report_.read == TeacherRead::kInTurns) take_turns();
  }

  /// What is replayed is the root's all the same.
  void take_turns() {
    std::vector<uint64_t> bytes;
    for (const PlannedTensor& tensor : report_.tensors) bytes.push_back(tensor.bytes);
    const std::vector<int> readers = detail::share_reading(bytes, report_.world_size);
    for (size_t i = 0; i < layouts_.size(); ++i) {
      if (!report_.tensors[i].replayed) layouts_[i].root = readers[i];
    }
  }

  /// One of the job's two streams; returns the bytes of it that travel.
  uint64_t travel(bool replayed) {
    std::vector<detail::TransferLayout> layouts;
    for (size_t i = 0; i < layouts_.size(); ++i) {
      if (report_.tensors[i].replayed == replayed) layouts.push_back(layouts_[i]);
    }
    const size_t bucket_bytes = detail::bucket_bytes_for(device_, options_.bucket_bytes);
    const auto buckets = detail::plan_buckets(layouts, bucket_bytes);
    uint64_t bytes = 0;
    for (const detail::Bucket& bucket : buckets) bytes += bucket.bytes;
    const bool sent = is_sent(replayed);
    size_t scratch = sent ? detail::kBucketsInFlight * detail::largest_packed_bytes(buckets) : 0;
    size_t broadcasts = sent ? buckets.size() : 0;
    if (!device_.is_cpu()) {
      const auto flights = detail::plan_flights(buckets, bucket_bytes);
      scratch = std::min(detail::kFlightsInFlight, flights.size()) *
                detail::largest_packed_bytes(flights);
      broadcasts = sent ? flights.size() : 0;
    }
    report_.broadcasts += broadcasts;
    report_.memory.buckets = std::max<uint64_t>(report_.memory.buckets, scratch);
    return sent ? bytes : 0;
  }

  void add_memory() {
    if (described_.target.storage == StoragePolicy::kAllocate) {
      for (const size_t bytes : described_.manifest.storage_bytes()) {
        report_.memory.storage += bytes;
      }
    }
    bool reads_host_memory = false;
    for (const GroupPlan& group : matched_.plan.groups) {
      for (const auto& fill : group.fills) {
        const TeacherTensor& tensor = teacher_.tensors()[fill.teacher];
        const uint64_t bytes = static_cast<uint64_t>(element_count(specs_[fill.spec])) *
                               c10::elementSize(tensor.dtype);
        report_.memory.largest_copy = std::max(report_.memory.largest_copy, bytes);
        reads_host_memory = reads_host_memory || tensor.device.is_cpu();
      }
    }
    for (const TeacherFile& file : teacher_.files()) {
      if (!file.is_index) report_.memory.mapped_files += file.bytes;
    }
    if (!device_.is_cpu() && reads_host_memory) report_.memory.pinned = options_.pinned_bytes;
  }

  const DescribedTarget& described_;
  const std::vector<TensorSpec>& specs_;
  const Teacher& teacher_;
  const MatchedKeys& matched_;
  at::Device device_;
  const FillOptions& options_;
  std::vector<detail::TransferLayout> layouts_;  ///< by group
  DryRunReport report_;
};

void check_world_size(int world_size) {
  if (world_size > 0) return;
  throw ConfigError("world size", std::to_string(world_size) + " is not a valid number of ranks",
                    "give 1 or more");
}

}  // namespace

DryRunReport dry_run(const TargetBuilder& build, const TeacherSource& teacher, int world_size,
                     const FillOptions& options) {
  const detail::NoInferenceMode no_inference;
  const auto alone = make_local_communicators(1);
  DescribedTarget described;
  run_agreed(*alone.front(), "build", ErrorCode::kBuild, [&] {
    check_world_size(world_size);
    detail::check_fill_options(world_size, options);
    described = detail::describe_target(build());
    detail::require_whole(described.target.tensors);
  });
  DryRunReport report;
  run_agreed(*alone.front(), "plan", ErrorCode::kTeacher, [&] {
    const auto opened = teacher.open();
    const MatchedKeys matched =
        detail::match_keys(described.whole, described.whole_occupied, opened->tensors(),
                           teacher.description(), /*strict=*/false);
    report = DryRun(described, *opened, matched, options, world_size).run();
    if (options.strict) {
      report.strict_failure = detail::strict_failure(matched.keys, teacher.description());
    }
    if (!report.strict_failure) detail::check_can_be_replayed(described, matched.plan);
  });
  return report;
}

}  // namespace fakescore
