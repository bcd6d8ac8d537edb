#include "plan_command.hpp"

#include <cstdio>
#include <fstream>
#include <sstream>

#include "destinations.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/module/plan_fake_score.hpp"
#include "forecast_report.hpp"
#include "plan_report.hpp"
#include "print.hpp"
#include "structure.hpp"

namespace fakescore::launcher {

namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw ConfigError(path.string(), "cannot be read", "give a file of figures");
  return text.str();
}

std::vector<Forecast> forecast_job(const PlanOptions& options, const DryRunReport& planned) {
  const bool on_gpu = options.device != "cpu";
  ForecastOptions how;
  how.shape = options.shape;
  how.traffic.read = options.meta_options().read;
  how.traffic.on_gpu = on_gpu;
  how.traffic.backend = on_gpu ? "nccl" : "mpi";
  how.traffic.root = kRoot;
  how.bucket_bytes =
      options.bucket_bytes.value_or(on_gpu ? kDefaultDeviceBucketBytes : kDefaultBucketBytes);
  if (!options.figures.empty()) {
    how.figures = read_figures(read_text(options.figures), options.figures.string());
  }
  return forecast(planned.tensors, how);
}

}  // namespace

void plan(const PlanOptions& options) {
  if (!options.json.empty()) {
    check_report_file(options.json, options.teacher.weights(), find_config(options), "");
    if (!options.figures.empty()) check_report_file(options.json, options.figures, "", "");
  }
  const auto alone = make_local_communicators(1);
  const auto teacher = options.teacher.source();
  const Structure structure = choose_structure(options, teacher, *alone.front());
  MetaOptions meta = options.meta_options();
  meta.root = kRoot;
  meta.device = at::Device(options.device);
  const DryRunReport planned =
      plan_fake_score(structure.build, teacher, options.shape.world_size(), meta);
  const std::vector<Forecast> forecasts = forecast_job(options, planned);
  print_plan(planned, structure.description, options);
  print("\n");
  print_forecasts(forecasts);
  std::fflush(stdout);
  if (!options.json.empty()) write_plan(options.json, planned, forecasts, structure.description);
  if (planned.strict_failure) throw_error(*planned.strict_failure);
}

}  // namespace fakescore::launcher
