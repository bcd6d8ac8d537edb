// One rank of a job under mpirun that gives every rank a copy of a teacher once, or moves as many
// bytes as a limit. Rank 0 prints a line of JSON; its fields: benchmarks/README.md.
#include <mpi.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "fakescore/fakescore.hpp"
#include "fresh_pages.hpp"
#include "limits.hpp"
#include "process_usage.hpp"
#include "teacher_module.hpp"

namespace fakescore::benchmark {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int kRoot = 0;
constexpr size_t kPageBytes = 4096;

struct Options {
  std::filesystem::path teacher;
  MetaOptions meta;
  bool sample = false;
  size_t limit_bytes = 0;
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void barrier(Communicator& communicator) { communicator.all_gather("", "barrier"); }

/// What LibTorch and MPI do once in a process shall not count: their tables, their connections.
void warm_up(Communicator& communicator) {
  const auto module = torch::nn::Linear(64, 64).ptr();
  module->to(torch::kBFloat16);
  sync_module_states(*module, communicator);
}

struct Load {
  std::shared_ptr<torch::nn::Module> module;
  MetaReport report;
  json rank;  ///< what this rank measured
};

/// Writes one byte of each page of the module's tensors, as training does first of all. Where pages
/// are shared with a file or do not exist yet, this is what it costs to have them.
json write_first(const torch::nn::Module& module, Communicator& communicator) {
  const auto tensors = module_tensors(module);
  const Usage before = usage();
  barrier(communicator);
  const auto begin = Clock::now();
  for (const NamedTensor& entry : tensors) {
    auto* const bytes = static_cast<volatile char*>(entry.tensor.data_ptr());
    for (size_t at = 0; at < entry.tensor.nbytes(); at += kPageBytes) bytes[at] = bytes[at];
  }
  barrier(communicator);
  return {{"first_write_seconds", seconds_since(begin)},
          {"first_write_faults", usage().faults - before.faults},
          {"anonymous_written", anonymous_bytes()}};
}

/// Timed from all ranks being there to all ranks holding the weights.
Load load_once(const Options& options, const Structure& structure, Communicator& communicator) {
  const auto teacher = TeacherSource::path(options.teacher);
  MetaOptions meta = options.meta;
  double first_byte = 0;
  Clock::time_point begin;
  meta.progress = [&](const Progress& progress) {
    if (first_byte == 0 && progress.done_bytes > 0) first_byte = seconds_since(begin);
  };
  give_pages(std::filesystem::file_size(options.teacher), communicator.world_size(),
             [&] { barrier(communicator); });
  std::optional<AnonymousPeak> peak;
  if (options.sample) peak.emplace();
  reset_resident_peak();
  const uint64_t anonymous_before = anonymous_bytes();
  barrier(communicator);
  const Usage before = usage();
  begin = Clock::now();
  MetaResult result = create_fake_score_meta([&] { return build_teacher_module(structure); },
                                             teacher, communicator, meta);
  barrier(communicator);
  const double seconds = seconds_since(begin);
  const Usage after = usage();
  Load load{result.module, std::move(result.report), {}};
  load.rank = {{"seconds", seconds},
               {"first_byte_seconds", first_byte},
               {"cpu_seconds", after.cpu_seconds - before.cpu_seconds},
               {"faults", after.faults - before.faults},
               {"disk_bytes", after.disk_bytes - before.disk_bytes},
               {"anonymous_before", anonymous_before},
               {"anonymous_loaded", anonymous_bytes()},
               {"resident_peak", resident_peak()}};
  if (peak) load.rank["anonymous_peak"] = peak->bytes();
  return load;
}

json gathered(const json& mine, Communicator& communicator) {
  json ranks = json::array();
  for (const std::string& text : communicator.all_gather(mine.dump(), "measurements")) {
    ranks.push_back(json::parse(text));
  }
  return ranks;
}

json phases_of(const MetaReport& report) {
  json phases = json::object();
  for (const PhaseReport& phase : report.phases) phases[phase.name] = phase.seconds;
  return phases;
}

/// Bytes of the module's storages, each once, and its tensors by name.
json size_of(const torch::nn::Module& module) {
  std::map<const void*, size_t> storages;
  size_t tensors = 0;
  for (const NamedTensor& entry : module_tensors(module)) {
    const auto& storage = entry.tensor.storage();
    tensors += storages.emplace(storage.data(), storage.nbytes()).second ? 1U : 0U;
  }
  size_t bytes = 0;
  for (const auto& [data, size] : storages) bytes += size;
  return {{"model_bytes", bytes}, {"tensors", tensors}};
}

json versions() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> mpi{};
  int length = 0;
  MPI_Get_library_version(mpi.data(), &length);
  const std::string text(mpi.data());
  return {{"torch", TORCH_VERSION}, {"mpi", text.substr(0, text.find(','))}};
}

bool run_load(const Options& options, Communicator& communicator) {
  const Structure structure = read_structure(options.teacher);
  Load load = load_once(options, structure, communicator);
  load.rank.update(write_first(*load.module, communicator));
  const Comparison comparison = compare_with_teacher(*load.module, structure, options.teacher);
  load.rank["first_difference"] = comparison.first_difference;
  load.rank["buffers_right"] = comparison.buffers_right;
  load.rank["ties_right"] = comparison.ties_right;
  json line = size_of(*load.module);
  line["phases"] = phases_of(load.report);
  line["versions"] = versions();
  line["moved_bytes"] = load.report.bytes;
  line["read_by"] = load.report.read == TeacherRead::kEveryRank ? "all" : "root";
  line["by_rank"] = gathered(load.rank, communicator);
  if (communicator.rank() == kRoot) std::printf("%s\n", line.dump().c_str());
  return comparison.first_difference.empty() && comparison.buffers_right && comparison.ties_right;
}

bool run_limits(const Options& options, Communicator& communicator) {
  const Cost broadcast = broadcast_limit(options.limit_bytes);
  const Cost copy = copy_limit(options.limit_bytes);
  const Cost populated = populated_copy_limit(options.limit_bytes);
  const json mine{{"broadcast_seconds", broadcast.seconds},
                  {"broadcast_cpu_seconds", broadcast.cpu_seconds},
                  {"copy_seconds", copy.seconds},
                  {"copy_cpu_seconds", copy.cpu_seconds},
                  {"populated_copy_seconds", populated.seconds},
                  {"populated_copy_cpu_seconds", populated.cpu_seconds}};
  const json ranks = gathered(mine, communicator);
  if (communicator.rank() != kRoot) return true;
  std::printf("%s\n", json{{"bytes", options.limit_bytes}, {"by_rank", ranks}}.dump().c_str());
  return true;
}

int main(int argc, char** argv) {
  CLI::App app("Loads a teacher on every rank of a job under mpirun, or moves as many bytes");
  Options options;
  app.require_subcommand(1);
  CLI::App* const load = app.add_subcommand("load", "create_fake_score_meta, once");
  load->add_option("--teacher", options.teacher, "file of make_teacher.py --traps")
      ->required()
      ->check(CLI::ExistingFile);
  load->add_option("--bucket-bytes", options.meta.bucket_bytes, "bytes of one broadcast");
  load->add_option("--read", options.meta.read, "who reads the teacher: auto, root or all")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, TeacherRead>{{"auto", TeacherRead::kAuto},
                                             {"root", TeacherRead::kRoot},
                                             {"all", TeacherRead::kEveryRank}}));
  load->add_flag("--sample", options.sample, "find the peak of memory, which costs time");
  CLI::App* const limits = app.add_subcommand("limits", "the broadcast and the copies alone");
  limits->add_option("--bytes", options.limit_bytes, "bytes of the model")
      ->required()
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  try {
    const auto communicator = make_communicator(detect_launch_env());
    warm_up(*communicator);
    const bool is_right =
        load->parsed() ? run_load(options, *communicator) : run_limits(options, *communicator);
    return is_right ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    std::fflush(nullptr);
    // Finalising MPI would wait for ranks that may be gone.
    ::_exit(1);
  }
}

}  // namespace
}  // namespace fakescore::benchmark

int main(int argc, char** argv) { return fakescore::benchmark::main(argc, argv); }
