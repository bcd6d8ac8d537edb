// One rank of a job in which one rank is struck in a chosen phase of create_fake_score_meta. Leaves
// with the program's own exit code for a lost peer, after printing the error and how long it took
// to hear of it.
//
//   meta_fault_rank PHASE STRIKE VICTIM TIMEOUT_MS
//
// STRIKE is the number of a signal; "gpu": its emulated GPU breaks; "step": it calls another step
// than the others; or "gives_up": it says that it cannot go on. FAKESCORE_TEST_DEVICE says where
// the fake score lies: cpu unless set. FAKESCORE_TEST_ABORT_MS makes emulated NCCL take that long
// to abort. FAKESCORE_TEST_JOB=shards is a job in which each rank keeps its part of what the root
// has, FAKESCORE_TEST_JOB=other_shards one in which ranks have other parts; the phase "bulk" is
// then one of the exchanges in the middle. FAKESCORE_TEST_SHARED=1: the ranks share memory.

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "emulation.hpp"
#include "fakescore/fakescore.hpp"
#include "support/be_struck.hpp"
#include "support/faulty_communicator.hpp"
#include "support/tiny_models.hpp"

namespace {

constexpr int kLostPeer = 5;

void be_struck(const std::string& strike, fakescore::Communicator& communicator) {
  if (strike == "gpu") {
    fakescore::emulation::attached()->break_device();
  } else if (strike == "step") {
    communicator.all_gather("", "another step");
  } else {
    fakescore::testing::be_struck(strike, communicator);
  }
}

using fakescore::NamedTensor;

constexpr int64_t kRows = 300;
constexpr int64_t kColumns = 1000;
/// Of a job with shards: where a rank is struck, after the messages about who has what.
constexpr int kStruckExchange = 10;

/// A rank's rows or columns of a tensor.
NamedTensor part_of(const fakescore::Communicator& communicator, size_t dim, at::Device device) {
  const std::vector<int64_t> sizes{kRows, kColumns};
  fakescore::Box box{{0, 0}, sizes};
  box.sizes[dim] = sizes[dim] / communicator.world_size();
  box.offsets[dim] = box.sizes[dim] * communicator.rank();
  if (communicator.rank() == communicator.world_size() - 1) {
    box.sizes[dim] = sizes[dim] - box.offsets[dim];
  }
  return {"weight", torch::ones(box.sizes, torch::device(device)),
          fakescore::TensorKind::kParameter, fakescore::Shard{sizes, box}};
}

void fill_shards(const std::string& job, fakescore::Communicator& communicator) {
  fakescore::FillTarget target;
  target.tensors = {part_of(communicator, 0, communicator.device())};
  const std::vector<NamedTensor> teacher{
      job == "other_shards" ? part_of(communicator, 1, at::kCPU)
                            : NamedTensor{"weight", torch::ones({kRows, kColumns}),
                                          fakescore::TensorKind::kParameter, std::nullopt}};
  fakescore::FillOptions options;
  options.bucket_bytes = 16384;
  fakescore::fill_tensors(target, fakescore::TeacherSource::state_dict(teacher), communicator,
                          options);
}

void create_whole(fakescore::Communicator& communicator) {
  const auto teacher = std::make_shared<fakescore::testing::AwkwardModule>();
  fakescore::MetaOptions options;
  options.verify = true;
  options.bucket_bytes = 65536;
  fakescore::create_fake_score_meta(
      [] { return std::make_shared<fakescore::testing::AwkwardModule>(); },
      fakescore::module_source(teacher), communicator, options);
}

int run(const std::string& job, fakescore::Communicator& communicator) {
  const auto begin = std::chrono::steady_clock::now();
  try {
    if (job == "whole") {
      create_whole(communicator);
    } else {
      fill_shards(job, communicator);
    }
  } catch (const fakescore::CommError& error) {
    const auto seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::cout << "SECONDS " << seconds << "\nERROR " << error.what() << std::endl;
    ::_exit(kLostPeer);
  }
  std::cout << "NO ERROR" << std::endl;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const std::string phase = argv[1];
  const std::string strike = argv[2];
  const int victim = std::atoi(argv[3]);
  const auto timeout = std::chrono::milliseconds(std::atoi(argv[4]));
  const char* device = std::getenv("FAKESCORE_TEST_DEVICE");
  if (const char* abort_ms = std::getenv("FAKESCORE_TEST_ABORT_MS")) {
    fakescore::emulation::attached()->set_abort_delay(
        std::chrono::milliseconds(std::atoi(abort_ms)));
  }
  auto communicator =
      fakescore::make_communicator(fakescore::detect_launch_env(), std::chrono::seconds(60),
                                   at::Device(device != nullptr ? device : "cpu"));
  if (std::getenv("FAKESCORE_TEST_SHARED") != nullptr) {
    communicator = fakescore::share_host_memory(std::move(communicator));
    if (communicator->backend() != "shared memory over store") return 2;
  }
  // Ranks start at different moments: the deadline under test counts from when all are there.
  communicator->all_gather("", "ready");
  communicator->set_timeout(timeout);
  const char* given_job = std::getenv("FAKESCORE_TEST_JOB");
  const std::string job = given_job != nullptr ? given_job : "whole";
  if (communicator->rank() != victim) return run(job, *communicator);
  int reached = 0;
  const auto strike_in_time = [&] {
    if (job == "whole" || ++reached == kStruckExchange) be_struck(strike, *communicator);
  };
  return run(job, *fakescore::testing::make_faulty(*communicator, {phase, strike_in_time}));
}
