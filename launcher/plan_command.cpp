#include "plan_command.hpp"

#include <cstdio>

#include "destinations.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/module/plan_fake_score.hpp"
#include "plan_report.hpp"
#include "structure.hpp"

namespace fakescore::launcher {

void plan(const PlanOptions& options) {
  if (!options.json.empty()) {
    check_report_file(options.json, options.teacher.weights(), find_config(options), "");
  }
  const auto alone = make_local_communicators(1);
  const auto teacher = options.teacher.source();
  const Structure structure = choose_structure(options, teacher, *alone.front());
  MetaOptions meta = options.meta_options();
  meta.root = kRoot;
  meta.device = at::Device(options.device);
  const DryRunReport planned = plan_fake_score(structure.build, teacher, options.ranks, meta);
  print_plan(planned, structure.description, options);
  std::fflush(stdout);
  if (!options.json.empty()) write_plan(options.json, planned, structure.description);
  if (planned.strict_failure) throw_error(*planned.strict_failure);
}

}  // namespace fakescore::launcher
