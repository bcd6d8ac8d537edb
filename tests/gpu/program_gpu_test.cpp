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
using testing::program_command;
using testing::run_of;
using testing::run_shell;
using testing::shell_quoted;
using testing::TempFolder;

std::string run_on_gpu(const std::filesystem::path& teacher, const std::filesystem::path& output) {
  const std::string emulate =
      testing::on_real_gpus() ? "" : shell_quoted(FAKESCORE_TEST_EMULATE) + " ";
  return emulate + program_command(run_of(teacher)) + " --device cuda --output " +
         shell_quoted(output);
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
