#include "options.hpp"

#include <map>

#include "fakescore/comm/launch_env.hpp"
#include "fakescore/error.hpp"

namespace fakescore::launcher {
namespace {

const std::map<std::string, at::ScalarType>& dtypes() {
  static const std::map<std::string, at::ScalarType> names{{"float64", at::kDouble},
                                                           {"float32", at::kFloat},
                                                           {"float16", at::kHalf},
                                                           {"bfloat16", at::kBFloat16}};
  return names;
}

const std::map<std::string, TeacherRead>& readers() {
  static const std::map<std::string, TeacherRead> names{{"auto", TeacherRead::kAuto},
                                                        {"root", TeacherRead::kRoot},
                                                        {"all", TeacherRead::kEveryRank},
                                                        {"turns", TeacherRead::kInTurns}};
  return names;
}

/// "REGEX=DTYPE"; a regular expression may have a "=" of its own.
DtypeRule parse_dtype_rule(const std::string& text) {
  const size_t split = text.rfind('=');
  const auto dtype = dtypes().find(split == std::string::npos ? "" : text.substr(split + 1));
  if (dtype == dtypes().end()) {
    throw ConfigError("dtype rule \"" + text + "\"", "is not of the form REGEX=DTYPE",
                      "end it with =float64, =float32, =float16 or =bfloat16");
  }
  return {text.substr(0, split), dtype->second};
}

/// Lets CLI11 refuse what `parse` throws for, on one rank and before the job.
CLI::Validator accepted_by(void (*parse)(const std::string&)) {
  return {[parse](const std::string& text) -> std::string {
            try {
              parse(text);
              return "";
            } catch (const ConfigError& error) {
              return error.what();
            }
          },
          ""};
}

void check_dtype_rule(const std::string& text) { parse_dtype_rule(text); }
void check_key_rule(const std::string& text) { TeacherSource::path("").rename_keys({text}); }
void check_prefix(const std::string& text) { TeacherSource::path("").strip_prefix(text); }

void add_teacher_options(CLI::App& command, TeacherOptions& options) {
  command.add_option("--key", options.which.key,
                     "the key under which a PyTorch file nests its state dict, such as ema");
  command.add_option("--variant", options.which.variant,
                     "the variant of a folder's files, such as fp16");
  command.add_option("--subfolder", options.which.subfolder,
                     "the folder below the given one that holds the weights, such as transformer");
  command
      .add_option("--strip-prefix", options.prefix,
                  "remove this from names that begin with it, such as model.diffusion_model.")
      ->check(accepted_by(check_prefix));
  command
      .add_option(
          "--map", options.key_rules,
          "replace what the regular expression FROM matches in names by TO, in which $1 is the "
          "first group; may be given several times; applied in the order given, after "
          "--strip-prefix")
      ->type_name("FROM=TO")
      ->allow_extra_args(false)
      ->check(accepted_by(check_key_rule));
}

void add_job_options(CLI::App& command, JobOptions& options) {
  command.add_option("--teacher", options.teacher.path, "file, index, or folder of weights")
      ->required();
  add_teacher_options(command, options.teacher);
  command.add_option("--config", options.config,
                     "diffusers config.json, read on rank 0; default: the one beside the weights");
  command
      .add_option("--dtype", options.dtype, "cast floating-point parameters and buffers to this")
      ->check(CLI::IsMember(dtypes()));
  command
      .add_option("--dtype-rule", options.dtype_rules,
                  "another dtype for names in which the regular expression is found; may be given "
                  "several times, the first match counts")
      ->type_name("REGEX=DTYPE")
      ->allow_extra_args(false)
      ->check(accepted_by(check_dtype_rule));
  command
      .add_option("--device", options.device,
                  "cpu, or cuda: the fake score on each rank's GPU, that of its local rank, over "
                  "NCCL")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  command
      .add_option("--bucket-bytes", options.bucket_bytes,
                  "bytes of one broadcast; default: 1 MiB for cpu, 32 MiB for cuda")
      ->check(CLI::Range(size_t{4096}, size_t{1} << 30));
  command
      .add_option("--pinned-bytes", options.pinned_bytes,
                  "most bytes of pinned host memory that a rank reads through to fill its GPU")
      ->check(CLI::Range(size_t{64} << 10, size_t{1} << 36))
      ->capture_default_str();
  command.add_flag("--strict,!--no-strict", options.strict,
                   "missing or unexpected keys are errors (default); with --no-strict they are "
                   "reported, and missing ones keep the module's own initialisation");
  command
      .add_option(
          "--read", options.read,
          "who reads the teacher: root: rank 0, which sends it to the others; all: every "
          "rank, for itself; turns: the ranks share the reading and send in turn; auto: "
          "root if a rank does not see the same files, else all on CPUs of one host, and turns on "
          "GPUs or several hosts")
      ->check(CLI::IsMember(readers()))
      ->capture_default_str();
  command.add_option("--json", options.json, "file in which rank 0 writes the report");
}

void add_launch_options(CLI::App& command, LaunchOptions& options) {
  command
      .add_option("--timeout", options.timeout_seconds,
                  "seconds to wait for another rank before it counts as lost")
      ->check(CLI::Range(0.1, 1e6))
      ->capture_default_str();
  command
      .add_option("--launcher", options.launcher,
                  "whose variables say which rank this is: torchrun, mpi, slurm, or none for a "
                  "single process; default: FAKESCORE_LAUNCHER, else all, which must agree")
      ->check(CLI::IsMember(launcher_choices()));
}

/// How many ranks there are and where: on one host, or on several.
void add_shape_options(CLI::App& command, JobShape& shape) {
  constexpr int kMostRanks = 1'000'000;
  const CLI::Range some(1, kMostRanks);
  CLI::Option* ranks =
      command.add_option("--ranks", shape.ranks_per_host, "ranks of a job on one host")
          ->check(some);
  CLI::Option* hosts =
      command.add_option("--hosts", shape.hosts, "hosts of a job on several")->check(some);
  CLI::Option* each =
      command.add_option("--ranks-per-host", shape.ranks_per_host, "ranks on each of --hosts")
          ->check(some)
          ->needs(hosts);
  hosts->needs(each)->excludes(ranks);
  command
      .add_option("--ranks-per-copy", shape.ranks_per_copy,
                  "ranks that share one copy of the module, each with a part of every parameter "
                  "(FSDP2's shards); the others hold replicas; default: 1, every rank holds all")
      ->check(some);
  command.callback([ranks, hosts, &shape] {
    if (ranks->count() + hosts->count() == 0) {
      throw CLI::RequiredError("--ranks, or --hosts and --ranks-per-host,");
    }
    if (shape.ranks_per_host > kMostRanks / shape.hosts) {
      throw CLI::ValidationError("--hosts", "more than " + std::to_string(kMostRanks) +
                                                " ranks in all are not planned for");
    }
  });
}

}  // namespace

TeacherSource TeacherOptions::source() const {
  TeacherSource source = TeacherSource::path(path, which);
  if (prefix) source = source.strip_prefix(*prefix);
  return source.rename_keys(key_rules);
}

std::filesystem::path TeacherOptions::weights() const {
  return which.subfolder.empty() ? path : path / which.subfolder;
}

MetaOptions JobOptions::meta_options() const {
  MetaOptions meta;
  if (!dtype.empty()) meta.dtype = dtypes().at(dtype);
  for (const std::string& rule : dtype_rules) meta.dtype_rules.push_back(parse_dtype_rule(rule));
  meta.bucket_bytes = bucket_bytes;
  meta.pinned_bytes = pinned_bytes;
  meta.strict = strict;
  meta.read = readers().at(read);
  return meta;
}

CLI::App* add_run_command(CLI::App& app, RunOptions& options) {
  CLI::App* run = app.add_subcommand(
      "run", "Build the teacher's fake score on every rank of this job, and report");
  add_job_options(*run, options);
  add_launch_options(*run, options);
  run->add_flag("--verify,!--no-verify", options.verify,
                "compare a digest of every tensor across ranks (default)");
  run->add_option("--output", options.output,
                  "folder in which the last rank writes its fake score, as safetensors");
  run->add_flag("--quiet", options.quiet, "print errors only");
  return run;
}

CLI::App* add_plan_command(CLI::App& app, PlanOptions& options) {
  CLI::App* plan = app.add_subcommand(
      "plan",
      "Say what run would do on that many ranks; one process, which reads only names and shapes");
  add_job_options(*plan, options);
  add_shape_options(*plan, options.shape);
  plan->add_option("--figures", options.figures,
                   "file that measure wrote, or that states the same: how long the job takes is "
                   "predicted from it");
  plan->add_flag("--all", options.all, "print every key, however many there are");
  return plan;
}

CLI::App* add_measure_command(CLI::App& app, MeasureCommandOptions& options) {
  CLI::App* measure = app.add_subcommand(
      "measure",
      "Measure what this job's hosts and links give, in a few seconds: for plan --figures");
  measure
      ->add_option("file", options.what.file,
                   "file to read from, which every rank sees; a part of the teacher")
      ->required();
  measure
      ->add_option(
          "--bytes", options.what.bytes,
          "bytes that each rank moves for each figure, and has in memory beside a few buckets")
      ->check(CLI::Range(uint64_t{1} << 20, uint64_t{1} << 40))
      ->capture_default_str();
  measure->add_option("--rounds", options.what.rounds, "of which the fastest counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  measure->add_option("--device", options.device, "cpu, or cuda: bytes travel between GPUs")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  measure->add_option("--json", options.json, "file in which rank 0 writes the figures");
  add_launch_options(*measure, options);
  return measure;
}

CLI::App* add_inspect_command(CLI::App& app, TeacherOptions& options) {
  CLI::App* inspect =
      app.add_subcommand("inspect", "Print a checkpoint's tensors, dtypes, sizes and ties");
  inspect->add_option("path", options.path, "file, index, or folder of weights")->required();
  add_teacher_options(*inspect, options);
  return inspect;
}

}  // namespace fakescore::launcher
