// One rank of a job that loads a teacher's file to every rank's GPU once. Rank 0 prints one line of
// JSON: seconds, and with --trace what was read, copied and broadcast.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "chrome_trace.hpp"
#include "emulation.hpp"
#include "fakescore/fakescore.hpp"
#include "read_recorder.hpp"

namespace fakescore::benchmark {
namespace {

using nlohmann::json;

constexpr int kRoot = 0;

struct Options {
  std::filesystem::path teacher;
  std::filesystem::path trace;
  MetaOptions meta;
  size_t bucket_bytes = kDefaultDeviceBucketBytes;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--teacher", options.teacher, "safetensors file that every rank can read")
      ->required()
      ->check(CLI::ExistingPath);
  app.add_option("--trace", options.trace,
                 "count reads, copies and broadcasts, and write them as a Chrome trace");
  app.add_option("--bucket-bytes", options.bucket_bytes, "bytes of one broadcast")
      ->capture_default_str();
  app.add_option("--pinned-bytes", options.meta.pinned_bytes, "pinned memory of a rank that reads")
      ->capture_default_str();
  app.add_option("--read", options.meta.read, "who reads the teacher")
      ->transform(CLI::CheckedTransformer(std::map<std::string, TeacherRead>{
          {to_string(TeacherRead::kAuto), TeacherRead::kAuto},
          {to_string(TeacherRead::kRoot), TeacherRead::kRoot},
          {to_string(TeacherRead::kInTurns), TeacherRead::kInTurns}}));
}

/// What NCCL and the allocators do once in a process shall not count.
void warm_up(Communicator& communicator) {
  const auto module = std::make_shared<torch::nn::Module>();
  module->register_buffer("buffer", torch::ones({1 << 16}, communicator.device()));
  sync_module_states(*module, communicator);
}

void barrier(Communicator& communicator) { communicator.all_gather("", "barrier"); }

struct Load {
  MetaResult result;
  double seconds = 0;
};

/// Timed from all ranks being there to all ranks holding the weights.
Load load_once(const Options& options, Communicator& communicator) {
  const auto teacher = TeacherSource::path(options.teacher);
  Load load;
  barrier(communicator);
  const auto begin = std::chrono::steady_clock::now();
  const auto tensors = broadcast_teacher_tensors(teacher, communicator, kRoot);
  load.result = create_fake_score_meta([&] { return build_checkpoint_module(tensors); }, teacher,
                                       communicator, options.meta);
  barrier(communicator);
  load.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return load;
}

json counters_of(const emulation::Counters& counters) {
  return {{"h2d_calls", counters.h2d_calls},
          {"h2d_bytes", counters.h2d_bytes},
          {"d2h_calls", counters.d2h_calls},
          {"d2h_bytes", counters.d2h_bytes},
          {"d2d_calls", counters.d2d_calls},
          {"d2d_bytes", counters.d2d_bytes},
          {"kernel_launches", counters.kernel_launches},
          {"pinned_bytes_peak", counters.pinned_bytes_peak},
          {"nccl_launches", counters.nccl_launches},
          {"nccl_broadcast_calls", counters.nccl_broadcast_calls},
          {"nccl_broadcast_bytes", counters.nccl_broadcast_bytes},
          {"nccl_other_calls", counters.nccl_other_calls}};
}

/// What this rank did, and the events of its trace.
json observations(int rank, const std::vector<FileRead>& reads,
                  const emulation::Emulation* device) {
  uint64_t bytes = 0;
  for (const FileRead& read : reads) bytes += read.bytes;
  json seen{{"rank", rank},
            {"reads", reads.size()},
            {"read_bytes", bytes},
            {"distinct_read_bytes", distinct_bytes(reads)}};
  std::vector<emulation::Operation> operations;
  if (device != nullptr) {
    seen["emulated"] = counters_of(device->counters());
    operations = device->timeline();
  }
  return {{"counts", seen}, {"events", trace_events(rank, reads, operations)}};
}

void write_trace(const std::filesystem::path& path, const json& trace) {
  std::ofstream file(path);
  file << trace.dump() << '\n';
  file.close();
  if (!file) {
    throw_error({ErrorCode::kConfig, -1, "trace", path.string(), "cannot be written",
                 "give a file in a folder that exists and can be written"});
  }
}

/// Runs `load`, and returns every rank's counts; rank 0 writes the trace.
json trace_load(const Options& options, Communicator& communicator,
                const std::function<void()>& load) {
  emulation::Emulation* const device = emulation::attached();
  if (device != nullptr) {
    device->reset_counters();
    device->clear_timeline();
  }
  const ReadRecorder recorder;
  load();
  const json mine = observations(communicator.rank(), recorder.reads(), device);
  json counts = json::array();
  std::vector<json> events;
  for (const std::string& text : communicator.all_gather(mine.dump(), "trace")) {
    json seen = json::parse(text);
    counts.push_back(seen["counts"]);
    events.push_back(std::move(seen["events"]));
  }
  if (communicator.rank() == kRoot) write_trace(options.trace, merge_traces(events));
  return counts;
}

/// Whether every tensor of this rank's module has the file's bytes.
bool equals_file(const torch::nn::Module& module, const TeacherSource& source) {
  std::map<std::string, at::Tensor> loaded;
  for (const auto& entry : module.named_parameters()) loaded[entry.key()] = entry.value().detach();
  for (const auto& entry : module.named_buffers()) loaded[entry.key()] = entry.value();
  const auto teacher = source.open();
  for (size_t i = 0; i < teacher->tensors().size(); ++i) {
    const auto bytes = [](const at::Tensor& tensor) {
      return tensor.cpu().contiguous().view({-1}).view(at::kByte);
    };
    const at::Tensor& actual = loaded.at(teacher->tensors()[i].name);
    if (!torch::equal(bytes(actual), bytes(teacher->read(i)))) return false;
  }
  return loaded.size() == teacher->tensors().size();
}

int run(const Options& options) {
  load_cuda();
  const auto communicator = make_communicator(detect_launch_env(), kDefaultTimeout, at::kCUDA);
  warm_up(*communicator);
  Load load;
  json counts;
  const auto timed = [&] { load = load_once(options, *communicator); };
  if (options.trace.empty()) {
    timed();
  } else {
    counts = trace_load(options, *communicator, timed);
  }
  const bool is_equal = equals_file(*load.result.module, TeacherSource::path(options.teacher));
  const auto all = communicator->all_gather(is_equal ? "equal" : "different", "comparison");
  const bool all_equal = std::count(all.begin(), all.end(), "equal") == communicator->world_size();
  if (communicator->rank() == kRoot) {
    json line{{"ranks", communicator->world_size()},
              {"backend", load.result.report.backend},
              {"is_emulated", emulation::is_active()},
              {"bucket_bytes", options.bucket_bytes},
              {"bytes", load.result.report.bytes},
              {"seconds", load.seconds},
              {"equals_file", all_equal}};
    if (!counts.is_null()) line["counts"] = counts;
    std::printf("%s\n", line.dump().c_str());
  }
  return all_equal ? 0 : 1;
}

int main(int argc, char** argv) {
  CLI::App app("Loads a teacher's file to the GPU of every rank of this job, once");
  Options options;
  add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  options.meta.bucket_bytes = options.bucket_bytes;
  try {
    return run(options);
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
