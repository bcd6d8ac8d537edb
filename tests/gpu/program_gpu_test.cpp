// The program with --device cuda, on emulated devices, under both launchers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "gpu/gpu_processes.hpp"
#include "launcher/program.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::expect_same_tensors;
using ::testing::HasSubstr;
using testing::kDigits;
using testing::kModels;
using ::testing::Not;
using testing::program_command;
using testing::run_of;
using testing::run_shell;
using testing::shell_quoted;
using testing::TempFolder;

std::string on_gpu(const std::string& arguments) {
  const std::string emulate =
      testing::on_real_gpus() ? "" : shell_quoted(FAKESCORE_TEST_EMULATE) + " ";
  return emulate + program_command(arguments) + " --device cuda";
}

std::string run_on_gpu(const std::filesystem::path& teacher, const std::filesystem::path& output) {
  return on_gpu(run_of(teacher)) + " --output " + shell_quoted(output);
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(ProgramOnGpu, UnderMpirunTheLastRankHasTheTeachersBits) {
  for (const auto& teacher : {kDigits, kModels / "wan_sharded", kModels / "wan_bf16"}) {
    const TempFolder folder;
    const auto result = run_shell(testing::mpirun(4) + run_on_gpu(teacher, folder.path()));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("4 (nccl over mpi)"), HasSubstr("peak GPU memory"),
                                     HasSubstr("the same on every rank")));
    expect_same_tensors(teacher, folder.path());
  }
}
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
TEST(ProgramOnGpu, UnderTorchrunTheLastRankHasTheTeachersBits) {
  const TempFolder folder;
  const auto result = run_shell(testing::torchrun(2) + run_on_gpu(kDigits, folder.path()));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("2 (nccl over store)"));
  expect_same_tensors(kDigits, folder.path());
}
#endif

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(ProgramOnGpu, WhatIsMeasuredOnGpusIsWhatAPlanForThemTakes) {
  const TempFolder folder;
  const auto file = kDigits / "diffusion_pytorch_model.safetensors";
  const auto figures = folder / "figures.json";
  const auto measured = run_shell(
      testing::mpirun(2) +
      on_gpu("measure " + shell_quoted(file) + " --rounds 1 --bytes " + std::to_string(2 << 20)) +
      " --json " + shell_quoted(figures));
  ASSERT_EQ(measured.exit_code, 0) << measured.output;
  EXPECT_THAT(measured.output, HasSubstr("(nccl over mpi)"));
  EXPECT_THAT(measured.output, Not(HasSubstr("to a GPU    not known")));
  for (const char* shape : {"--ranks 2", "--ranks 2 --ranks-per-copy 2 --read root"}) {
    const auto planned =
        testing::program("plan --teacher " + shell_quoted(kDigits) + " --device cuda " + shape +
                         " --figures " + shell_quoted(figures));
    EXPECT_EQ(planned.exit_code, 0) << planned.output;
    EXPECT_THAT(planned.output, HasSubstr("from page caches")) << shape;
  }
}

TEST(ProgramOnGpu, RanksThatSeeOneGpuEachUseThatOne) {
  const TempFolder folder;
  // As Slurm's --gpus-per-task=1 has it.
  const auto result =
      run_shell(testing::mpirun(3) +
                "sh -c 'CUDA_VISIBLE_DEVICES=$OMPI_COMM_WORLD_LOCAL_RANK exec \"$@\"' one_gpu " +
                run_on_gpu(kDigits, folder.path()));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  expect_same_tensors(kDigits, folder.path());
}
#endif

TEST(ProgramOnGpu, MoreRanksThanGpusIsAnErrorThatSaysSo) {
  const auto result =
      run_shell("env RANK=0 WORLD_SIZE=1 LOCAL_RANK=99 MASTER_ADDR=127.0.0.1 MASTER_PORT=1 " +
                run_on_gpu(kDigits, "/tmp/unused"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, AllOf(HasSubstr("device cuda:99"), HasSubstr("GPUs")));
}

}  // namespace
}  // namespace fakescore
