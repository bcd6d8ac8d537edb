// One rank of a job of nccl_test: runs the scenario that it is given, and exits with 0 if all was
// as it must be.
#include "self_test/nccl_rank.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace fakescore::emulation {
namespace {

std::string environment(const char* name) {
  const char* const text = std::getenv(name);
  require(text != nullptr, std::string(name) + " is set");
  return text;
}

}  // namespace

int rank() { return std::stoi(environment("RANK")); }
int size() { return std::stoi(environment("WORLD_SIZE")); }

void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED on rank %s: %s\n", std::getenv("RANK"), what.c_str());
  std::_Exit(1);
}

void require(ncclResult_t result, const std::string& what) {
  require(result == ncclSuccess, what + ": " + ncclGetErrorString(result));
}

void require(cudaError_t result, const std::string& what) {
  require(result == cudaSuccess, what + ": " + cudaGetErrorString(result));
}

ncclUniqueId exchange_id() {
  static int exchanges = 0;
  const std::string path = environment("TEST_FOLDER") + "/id" + std::to_string(exchanges++);
  ncclUniqueId id{};
  if (rank() == 0) {
    require(ncclGetUniqueId(&id), "ncclGetUniqueId");
    std::ofstream(path + ".new", std::ios::binary).write(id.internal, sizeof id.internal);
    std::filesystem::rename(path + ".new", path);
  } else {
    require(eventually([&] { return std::filesystem::exists(path); }), "rank 0 made an id");
    std::ifstream(path, std::ios::binary).read(id.internal, sizeof id.internal);
  }
  return id;
}

void tell(const std::string& what) {
  std::ofstream told(environment("TEST_FOLDER") + "/" + what);
  require(told.good(), "the others hear of " + what);
}

void await(const std::string& what) {
  const std::string path = environment("TEST_FOLDER") + "/" + what;
  require(eventually([&] { return std::filesystem::exists(path); }), "somebody tells " + what);
}

ncclComm_t connect(bool is_blocking) {
  require(cudaSetDevice(rank()), "cudaSetDevice");
  const ncclUniqueId id = exchange_id();
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = is_blocking ? 1 : 0;
  ncclComm_t communicator = nullptr;
  const ncclResult_t result = ncclCommInitRankConfig(&communicator, size(), id, rank(), &config);
  require(result == (is_blocking ? ncclSuccess : ncclInProgress), "ncclCommInitRankConfig");
  require(settle(communicator), "the communicator is ready");
  return communicator;
}

ncclResult_t state_of(ncclComm_t communicator) {
  ncclResult_t state = ncclSuccess;
  require(ncclCommGetAsyncError(communicator, &state), "ncclCommGetAsyncError");
  return state;
}

ncclResult_t settle(ncclComm_t communicator) {
  ncclResult_t state = ncclInProgress;
  const bool is_settled = eventually([&] {
    state = state_of(communicator);
    return state != ncclInProgress;
  });
  require(is_settled, "the call came to an end");
  return state;
}

cudaStream_t make_stream() {
  cudaStream_t stream = nullptr;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return stream;
}

std::vector<float> pattern(size_t count, int from_rank, int tensor) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(i % 1000 + 1) + 1000.0F * static_cast<float>(from_rank) +
                10000.0F * static_cast<float>(tensor);
  }
  return values;
}

}  // namespace fakescore::emulation

int main(int count, char** arguments) {
  using namespace fakescore::emulation;  // NOLINT: a program's main
  require(count == 2, "one scenario is given");
  for (const auto* scenarios : {&kDataScenarios, &kFaultScenarios, &kConnectScenarios}) {
    for (const NamedScenario& scenario : *scenarios) {
      if (std::string(scenario.name) != arguments[1]) continue;
      scenario.run();
      return 0;
    }
  }
  require(false, std::string("there is a scenario ") + arguments[1]);
}
