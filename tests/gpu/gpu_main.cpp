// This process is one rank of a job whose ranks have a GPU each, real or emulated.
#include <gtest/gtest.h>

#include <iostream>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "fakescore/tensor/cuda.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/job_rank.hpp"

namespace fakescore::testing {
namespace {

constexpr int kSkipped = 77;
constexpr std::chrono::seconds kTimeout(60);

}  // namespace

at::Device rank_device() { return job_communicator()->device(); }

int run_gpu_tests(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  try {
    load_cuda();
  } catch (const ConfigError& error) {
    std::cout << "[  SKIPPED ] every test: " << error.what() << std::endl;
    return kSkipped;
  }
  job_communicator() = make_communicator(detect_launch_env(), kTimeout, at::kCUDA);
  const int result = RUN_ALL_TESTS();
  job_communicator().reset();
  return result;
}

}  // namespace fakescore::testing

int main(int argc, char** argv) { return fakescore::testing::run_gpu_tests(argc, argv); }
