#include "fakescore/fill/forecast.hpp"

#include <nlohmann/json.hpp>

#include "comm/bulk/shared_memory/shared_backend.hpp"

namespace fakescore {
namespace {

using nlohmann::ordered_json;

/// Figures of another kind of job would be taken for this one's.
void check_backend(const TrafficOptions& traffic, const JobShape& shape) {
  const bool is_of_gpus = traffic.backend.starts_with("nccl");
  std::string problem;
  if (traffic.backend == "local" && shape.world_size() > 1) {
    problem = "are of one process, and the job has " + std::to_string(shape.world_size());
  } else if (is_of_gpus && !traffic.on_gpu) {
    problem = "are of NCCL, and the job is one on CPUs";
  } else if (detail::shares_memory(traffic.backend) && (shape.hosts > 1 || traffic.on_gpu)) {
    problem = "are of ranks that share one host's memory, and the job has several hosts or GPUs";
  } else if (traffic.backend == "mpi" && traffic.on_gpu) {
    problem = "are of MPI on CPUs, and the job is one on GPUs";
  }
  if (problem.empty()) return;
  throw ConfigError("figures", problem,
                    "measure them by fakescore measure in a job of the same kind, or state another "
                    "backend in the file");
}

Forecast forecast_one(const std::vector<PlannedTensor>& tensors, const ForecastOptions& options,
                      bool all_see_files) {
  TrafficOptions traffic = options.traffic;
  traffic.all_see_files = all_see_files;
  if (options.figures) {
    traffic.backend = options.figures->backend;
    check_backend(traffic, options.shape);
  }
  Forecast forecast;
  forecast.all_see_files = all_see_files;
  forecast.traffic = plan_traffic(tensors, options.shape, traffic);
  if (!options.figures) return forecast;
  PredictOptions how{false, traffic.on_gpu, options.bucket_bytes};
  forecast.from_page_cache = predict(forecast.traffic, options.shape, *options.figures, how);
  if (!options.figures->disk) return forecast;
  how.cold = true;
  forecast.from_disk = predict(forecast.traffic, options.shape, *options.figures, how);
  return forecast;
}

ordered_json entry_of(const RankTraffic& rank) {
  return {{"filled", rank.filled},
          {"read", rank.read},
          {"sent", rank.sent},
          {"received", rank.received},
          {"from_other_hosts", rank.from_other_hosts}};
}

ordered_json entry_of(const HostTraffic& host) {
  return {{"read", host.read},
          {"from_disk", host.from_disk},
          {"sent", host.sent},
          {"received", host.received}};
}

template <typename Entry>
ordered_json entries_of(const std::vector<Entry>& all) {
  ordered_json entries = ordered_json::array();
  for (const Alike<Entry>& group : group_alike(all)) {
    ordered_json entry{{"first", group.first}, {"last", group.last}};
    entry.update(entry_of(group.traffic));
    entries.push_back(std::move(entry));
  }
  return entries;
}

ordered_json entry_of(const std::optional<Prediction>& prediction) {
  if (!prediction) return nullptr;
  ordered_json stages = ordered_json::object();
  std::string alone;
  for (const Stage& stage : prediction->stages) {
    stages[stage.name] = stage.seconds;
    if (!stage.is_beside) alone = stage.name;
  }
  return {{"seconds", prediction->seconds},
          {"bottleneck", prediction->bottleneck},
          {"stages", std::move(stages)},
          {"after_the_others", alone},
          {"way_seconds", prediction->way_seconds},
          {"control_seconds", prediction->control_seconds}};
}

}  // namespace

std::vector<Forecast> forecast(const std::vector<PlannedTensor>& tensors,
                               const ForecastOptions& options) {
  std::vector<Forecast> forecasts{forecast_one(tensors, options, true)};
  if (options.traffic.read == TeacherRead::kAuto && options.shape.world_size() > 1) {
    forecasts.push_back(forecast_one(tensors, options, false));
  }
  return forecasts;
}

std::string to_json(const std::vector<Forecast>& forecasts) {
  ordered_json list = ordered_json::array();
  for (const Forecast& each : forecasts) {
    list.push_back(ordered_json{{"all_see_files", each.all_see_files},
                                {"read", to_string(each.traffic.read)},
                                {"reason", each.traffic.reason},
                                {"ranks", entries_of(each.traffic.ranks)},
                                {"hosts", entries_of(each.traffic.hosts)},
                                {"from_page_cache", entry_of(each.from_page_cache)},
                                {"from_disk", entry_of(each.from_disk)}});
  }
  return list.dump();
}

}  // namespace fakescore
