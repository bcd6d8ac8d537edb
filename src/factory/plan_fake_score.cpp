#include <algorithm>
#include <set>

#include "factory/load_plan.hpp"
#include "factory/meta_job.hpp"
#include "factory/meta_structure.hpp"
#include "factory/trainable.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/factory/fake_score_plan.hpp"
#include "sync/flight_plan.hpp"
#include "sync/options_check.hpp"

namespace fakescore {
namespace {

using detail::FillMode;
using detail::GroupPlan;
using detail::LoadPlan;
using detail::MetaStructure;

class DryRun {
 public:
  DryRun(const MetaStructure& structure, const Teacher& teacher, const LoadPlan& load,
         const MetaOptions& options, int world_size)
      : structure_(structure),
        specs_(structure.manifest.specs()),
        teacher_(teacher),
        load_(load),
        device_(options.device.value_or(at::kCPU)),
        options_(options) {
    plan_.world_size = world_size;
    const bool every_rank = options.read == TeacherRead::kEveryRank && device_.is_cpu();
    if (every_rank && world_size > 1) plan_.read = TeacherRead::kEveryRank;
  }

  FakeScorePlan plan() {
    plan_.choice = teacher_.choice();
    plan_.cast = load_.cast;
    plan_.missing = load_.missing;
    plan_.unexpected = load_.unexpected;
    name_fills();
    name_replayed();
    name_renamed();
    name_shared();
    plan_.wire_bytes = travel(/*replayed=*/false);
    plan_.replayed_bytes = travel(/*replayed=*/true);
    plan_.wire_bytes += plan_.replayed_bytes;
    add_memory();
    return std::move(plan_);
  }

 private:
  void name_fills() {
    for (const GroupPlan& group : load_.groups) {
      if (group.mode == FillMode::kCast) continue;  // among plan_.cast
      auto& names = group.mode == FillMode::kInPlace ? plan_.in_place : plan_.assembled;
      for (const auto& fill : group.fills) names.push_back(specs_[fill.spec].name);
    }
  }

  void name_replayed() {
    const std::set<std::string> names(load_.replayed.begin(), load_.replayed.end());
    for (const TensorSpec& spec : specs_) {
      if (names.contains(spec.name)) plan_.replayed.push_back({spec.name, spec.kind});
    }
  }

  void name_renamed() {
    for (const TeacherTensor& tensor : teacher_.tensors()) {
      if (!tensor.stored_name.empty()) plan_.renamed.push_back({tensor.stored_name, tensor.name});
    }
  }

  void name_shared() {
    std::vector<std::vector<std::string>> groups(
        static_cast<size_t>(structure_.manifest.alias_groups()));
    for (const TensorSpec& spec : specs_) {
      if (spec.kind == TensorKind::kUnregistered) continue;
      groups[static_cast<size_t>(spec.alias_group)].push_back(spec.name);
    }
    for (auto& names : groups) {
      if (names.size() > 1) plan_.shared.push_back(std::move(names));
    }
  }

  /// Whether the root sends one of the job's two streams to other ranks.
  bool is_sent(bool replayed) const {
    return plan_.world_size > 1 && (replayed || plan_.read == TeacherRead::kRoot);
  }

  /// One of the job's two streams; returns the bytes of it that travel.
  uint64_t travel(bool replayed) {
    std::vector<detail::TransferLayout> layouts;
    for (const GroupPlan& group : load_.groups) {
      if ((group.mode == FillMode::kReplay) != replayed) continue;
      layouts.push_back(transfer_layout(group, structure_.manifest, structure_.occupied));
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
      broadcasts = flights.size();
    }
    plan_.broadcasts += broadcasts;
    plan_.memory.buckets = std::max<uint64_t>(plan_.memory.buckets, scratch);
    return sent ? bytes : 0;
  }

  void add_memory() {
    for (const size_t bytes : structure_.manifest.storage_bytes()) plan_.memory.storage += bytes;
    bool reads_host_memory = false;
    for (const GroupPlan& group : load_.groups) {
      for (const auto& fill : group.fills) {
        const TeacherTensor& tensor = teacher_.tensors()[fill.teacher];
        const uint64_t bytes = static_cast<uint64_t>(element_count(specs_[fill.spec])) *
                               c10::elementSize(tensor.dtype);
        plan_.memory.largest_copy = std::max(plan_.memory.largest_copy, bytes);
        reads_host_memory = reads_host_memory || tensor.device.is_cpu();
      }
    }
    for (const TeacherFile& file : teacher_.files()) {
      if (!file.is_index) plan_.memory.mapped_files += file.bytes;
    }
    if (!device_.is_cpu() && reads_host_memory) plan_.memory.pinned = options_.pinned_bytes;
  }

  const MetaStructure& structure_;
  const std::vector<TensorSpec>& specs_;
  const Teacher& teacher_;
  const LoadPlan& load_;
  at::Device device_;
  const MetaOptions& options_;
  FakeScorePlan plan_;
};

void check_world_size(int world_size) {
  if (world_size > 0) return;
  throw_error({ErrorCode::kConfig, -1, "", "world size",
               std::to_string(world_size) + " is not a valid number of ranks", "give 1 or more"});
}

}  // namespace

FakeScorePlan plan_fake_score(const ModuleBuilder& build, const TeacherSource& teacher,
                              int world_size, const MetaOptions& options) {
  const detail::TrainableTensors trainable;
  const auto alone = make_local_communicators(1);
  MetaStructure structure;
  run_agreed(*alone.front(), "build", ErrorCode::kBuild, [&] {
    check_world_size(world_size);
    detail::check_meta_options(world_size, options);
    detail::check_reader(options, options.device.value_or(at::kCPU));
    structure = detail::build_structure(build, options);
  });
  FakeScorePlan plan;
  run_agreed(*alone.front(), "plan", ErrorCode::kTeacher, [&] {
    const auto opened = teacher.open();
    const LoadPlan load = detail::make_load_plan(structure.manifest, opened->tensors(),
                                                 teacher.description(), /*strict=*/false);
    plan = DryRun(structure, *opened, load, options, world_size).plan();
    if (options.strict) plan.strict_failure = strict_failure(load, teacher.description());
  });
  return plan;
}

}  // namespace fakescore
