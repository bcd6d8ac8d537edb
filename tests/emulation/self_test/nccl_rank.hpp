#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace fakescore::emulation {

/// This process's place in the job, as the test says by the environment.
int rank();
int size();

/// Ends the process with an error that says `what` where `holds` is false.
void require(bool holds, const std::string& what);
void require(ncclResult_t result, const std::string& what);
void require(cudaError_t result, const std::string& what);

/// The same id in every process: rank 0 makes it and leaves it in a file of the test's folder.
ncclUniqueId exchange_id();

/// Lets the ranks that await `what` go on.
void tell(const std::string& what);
void await(const std::string& what);

/// A communicator of all ranks that is usable when this returns.
ncclComm_t connect(bool is_blocking);

/// What ncclCommGetAsyncError says now.
ncclResult_t state_of(ncclComm_t communicator);
/// Polls until no call is under way; the state then.
ncclResult_t settle(ncclComm_t communicator);

/// Polls until `done()`. False where that takes longer than any sound run.
template <class Done>
bool eventually(Done done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    timespec nap{0, 1'000'000};
    ::nanosleep(&nap, nullptr);
  }
  return true;
}

cudaStream_t make_stream();
/// Device memory with these values.
template <class T>
T* upload(const std::vector<T>& values) {
  void* address = nullptr;
  const size_t bytes = values.size() * sizeof(T);
  require(cudaMalloc(&address, bytes + 1), "cudaMalloc");
  require(cudaMemcpy(address, values.data(), bytes, cudaMemcpyDefault), "upload");
  require(cudaDeviceSynchronize(), "upload");
  return static_cast<T*>(address);
}
template <class T>
std::vector<T> download(const T* address, size_t count) {
  std::vector<T> values(count);
  require(cudaMemcpy(values.data(), address, count * sizeof(T), cudaMemcpyDefault), "download");
  return values;
}

/// Values that tell which rank and which tensor they come from.
std::vector<float> pattern(size_t count, int from_rank, int tensor = 0);

using Scenario = void (*)();
struct NamedScenario {
  const char* name;
  Scenario run;
};
extern const std::vector<NamedScenario> kDataScenarios;
extern const std::vector<NamedScenario> kFaultScenarios;
extern const std::vector<NamedScenario> kConnectScenarios;

}  // namespace fakescore::emulation
