// control_benchmark [--ranks N] [--repeats K]: what control messages cost at N ranks, as a line of
// JSON. The ranks are threads over a real TCPStore, or under mpirun --mpi its processes.
#include <ATen/Parallel.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "fakescore/fakescore.hpp"

namespace fakescore::benchmark {
namespace {

using nlohmann::json;
using Bytes = std::vector<uint8_t>;

/// What one rank asked of the store. `questions` are those that a rank repeats while it waits.
struct Messages {
  int64_t writes = 0;  ///< set, append, add, compareSet, deleteKey
  int64_t reads = 0;   ///< get
  int64_t questions = 0;

  Messages since(const Messages& before) const {
    return {writes - before.writes, reads - before.reads, questions - before.questions};
  }
};

class CountingStore : public c10d::TCPStore {
 public:
  using c10d::TCPStore::TCPStore;

  const Messages& messages() const { return messages_; }

  void set(const std::string& key, const Bytes& value) override {
    ++messages_.writes;
    TCPStore::set(key, value);
  }
  void append(const std::string& key, const Bytes& value) override {
    ++messages_.writes;
    TCPStore::append(key, value);
  }
  int64_t add(const std::string& key, int64_t value) override {
    ++(value == 0 ? messages_.questions : messages_.writes);
    return TCPStore::add(key, value);
  }
  Bytes compareSet(const std::string& key, const Bytes& before, const Bytes& after) override {
    ++messages_.writes;
    return TCPStore::compareSet(key, before, after);
  }
  bool deleteKey(const std::string& key) override {
    ++messages_.writes;
    return TCPStore::deleteKey(key);
  }
  Bytes get(const std::string& key) override {
    ++messages_.reads;
    return TCPStore::get(key);
  }
  bool check(const std::vector<std::string>& keys) override {
    ++messages_.questions;
    return TCPStore::check(keys);
  }

 private:
  Messages messages_;
};

/// A tiny module: what is left of a job is its control messages.
std::shared_ptr<torch::nn::Module> build() {
  auto module = std::make_shared<torch::nn::Module>();
  module->register_parameter("weight", torch::zeros({4, 4}));
  return module;
}

void agree(Communicator& rank) { rank.compare("a value", "agree"); }
void gather(Communicator& rank) { rank.all_gather("a value", "gather"); }
void run_job(Communicator& rank) {
  const auto teacher = rank.rank() == 0
                           ? TeacherSource::state_dict({{"weight", torch::ones({4, 4})}})
                           : TeacherSource::path("/nonexistent");
  MetaOptions options;
  options.verify = true;
  create_fake_score_meta(build, teacher, rank, options);
}

struct Step {
  const char* name;
  std::function<void(Communicator&)> run;
  int calls;  ///< in a row, of which the mean counts
};

const std::vector<Step>& steps() {
  static const std::vector<Step> all{
      {"agree", agree, 10}, {"gather", gather, 10}, {"job", run_job, 1}};
  return all;
}

double seconds_of(const std::function<void()>& step) {
  const auto begin = std::chrono::steady_clock::now();
  step();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int64_t number_in_status(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    int64_t number = 0;
    if (word == name + ":" && file >> number) return number;
  }
  return 0;
}

int64_t count_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

json resources() {
  return {{"descriptors", count_descriptors()},
          {"threads", number_in_status("Threads")},
          {"resident_kib", number_in_status("VmRSS")}};
}

c10::intrusive_ptr<CountingStore> connect(uint16_t port, bool is_server) {
  c10d::TCPStoreOptions options;
  options.port = port;
  options.isServer = is_server;
  options.waitWorkers = false;
  return c10::make_intrusive<CountingStore>("127.0.0.1", options);
}

/// Seconds from when all threads are there until the last has done `work`.
double on_threads(int count, const std::function<void(size_t)>& work) {
  std::barrier start(count + 1);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      work(i);
    });
  }
  start.arrive_and_wait();
  return seconds_of([&] {
    for (std::thread& thread : threads) thread.join();
  });
}

/// Each of the threads is a rank.
json measure_threads(int ranks, int repeats) {
  const auto server = connect(0, true);
  const json before = resources();
  std::vector<c10::intrusive_ptr<CountingStore>> stores(static_cast<size_t>(ranks));
  std::vector<std::unique_ptr<Communicator>> world(stores.size());
  on_threads(ranks, [&](size_t rank) {
    stores[rank] = connect(server->getPort(), false);
    world[rank] = make_store_communicator(stores[rank], static_cast<int>(rank), ranks, "control",
                                          std::chrono::minutes(5));
  });
  json result{{"ranks", ranks}, {"backend", "store"}, {"before", before}, {"after", resources()}};
  for (const Step& step : steps()) {
    std::vector<double> seconds;
    std::vector<Messages> spent(stores.size());
    for (int i = 0; i < repeats; ++i) {
      seconds.push_back(on_threads(ranks,
                                   [&](size_t rank) {
                                     const Messages earlier = stores[rank]->messages();
                                     for (int call = 0; call < step.calls; ++call)
                                       step.run(*world[rank]);
                                     spent[rank] = stores[rank]->messages().since(earlier);
                                   }) /
                        step.calls);
    }
    json& entry = result["steps"][step.name];
    entry = {{"seconds", seconds}, {"all", json::object()}, {"most", json::object()}};
    for (const Messages& messages : spent) {
      for (const auto& [name, count] :
           std::map<std::string, int64_t>{{"writes", messages.writes},
                                          {"reads", messages.reads},
                                          {"questions", messages.questions}}) {
        const double calls = static_cast<double>(count) / step.calls;
        entry["all"][name] = entry["all"].value(name, 0.0) + calls;
        entry["most"][name] = std::max(entry["most"].value(name, 0.0), calls);
      }
    }
  }
  return result;
}

/// Each of mpirun's processes is a rank; rank 0 tells.
json measure_mpi(int repeats) {
  const json before = resources();
  const auto own = make_mpi_communicator();
  json result{
      {"ranks", own->world_size()}, {"backend", "mpi"}, {"before", before}, {"after", resources()}};
  for (const Step& step : steps()) {
    std::vector<double> seconds;
    for (int i = 0; i < repeats; ++i) {
      own->compare("", "start");
      seconds.push_back(seconds_of([&] {
                          for (int call = 0; call < step.calls; ++call) step.run(*own);
                        }) /
                        step.calls);
    }
    result["steps"][step.name]["seconds"] = seconds;
  }
  return own->rank() == 0 ? result : json();
}

int main(int argc, char** argv) {
  CLI::App app("Seconds and messages of control calls", "control_benchmark");
  int ranks = 4;
  int repeats = 3;
  bool over_mpi = false;
  app.add_option("--ranks", ranks)->check(CLI::Range(1, 100'000));
  app.add_option("--repeats", repeats)->check(CLI::Range(1, 1000));
  app.add_flag("--mpi", over_mpi);
  CLI11_PARSE(app, argc, argv);
  at::set_num_threads(1);
  const json result = over_mpi ? measure_mpi(repeats) : measure_threads(ranks, repeats);
  if (!result.is_null()) std::printf("%s\n", result.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace fakescore::benchmark

int main(int argc, char** argv) { return fakescore::benchmark::main(argc, argv); }
