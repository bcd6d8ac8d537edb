#include "options.hpp"

#include <map>

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
  static const std::map<std::string, TeacherRead> names{
      {"auto", TeacherRead::kAuto}, {"root", TeacherRead::kRoot}, {"all", TeacherRead::kEveryRank}};
  return names;
}

}  // namespace

std::optional<at::ScalarType> RunOptions::scalar_type() const {
  if (dtype.empty()) return std::nullopt;
  return dtypes().at(dtype);
}

TeacherRead RunOptions::teacher_read() const { return readers().at(read); }

CLI::App* add_run_command(CLI::App& app, RunOptions& options) {
  CLI::App* run = app.add_subcommand(
      "run", "Build the teacher's fake score on every rank of this job, and report");
  run->add_option("--teacher", options.teacher, "safetensors file, index, or folder")->required();
  run->add_option("--config", options.config,
                  "diffusers config.json, read on rank 0; default: the one beside the teacher");
  run->add_option("--dtype", options.dtype, "cast floating-point parameters and buffers to this")
      ->check(CLI::IsMember(dtypes()));
  run->add_option("--device", options.device,
                  "cpu, or cuda: the fake score on each rank's GPU, that of its local rank, over "
                  "NCCL")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  run->add_option("--read", options.read,
                  "who reads the teacher: root, which broadcasts it; all: every rank, for itself; "
                  "auto: all where every rank is on one host and sees the same files, else root")
      ->check(CLI::IsMember(readers()))
      ->capture_default_str();
  run->add_option("--bucket-bytes", options.bucket_bytes,
                  "bytes of one broadcast; default: 1 MiB for cpu, 32 MiB for cuda")
      ->check(CLI::Range(size_t{4096}, size_t{1} << 30));
  run->add_option("--pinned-bytes", options.pinned_bytes,
                  "pinned host memory through which rank 0 fills its GPU, at most")
      ->check(CLI::Range(size_t{64} << 10, size_t{1} << 36))
      ->capture_default_str();
  run->add_option("--timeout", options.timeout_seconds,
                  "seconds to wait for another rank before it counts as lost")
      ->check(CLI::Range(0.1, 1e6))
      ->capture_default_str();
  run->add_flag("--strict,!--no-strict", options.strict,
                "missing or unexpected keys are errors (default); with --no-strict they are "
                "reported, and what is missing keeps its own initialisation");
  run->add_flag("--verify,!--no-verify", options.verify,
                "compare a digest of every tensor across ranks (default)");
  run->add_option("--output", options.output,
                  "folder in which the last rank writes what it received, as safetensors");
  run->add_option("--json", options.json, "file in which rank 0 writes the report");
  run->add_flag("--quiet", options.quiet, "print errors only");
  return run;
}

CLI::App* add_inspect_command(CLI::App& app, InspectOptions& options) {
  CLI::App* inspect =
      app.add_subcommand("inspect", "Print a checkpoint's tensors, dtypes, sizes and ties");
  inspect->add_option("path", options.path, "safetensors file, index, or folder")->required();
  return inspect;
}

}  // namespace fakescore::launcher
