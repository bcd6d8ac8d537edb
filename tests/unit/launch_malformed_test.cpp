#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "unit/launch_cases.hpp"

namespace fakescore {
namespace {

using testing::launch::config_error;
using testing::launch::detect;
using testing::launch::expect_names;
using testing::launch::merged;
using testing::launch::open_mpi;
using testing::launch::pmi;
using testing::launch::pmix;
using testing::launch::slurm;
using testing::launch::torchrun;
using testing::launch::Values;
using testing::launch::without;

struct Source {
  std::string name;
  Values values;
  std::string variable;
};

struct BadValue {
  std::string name;
  std::string value;
};

struct Malformed {
  std::string name;
  Values values;
  std::string variable;
  std::string value;
};

void PrintTo(const Malformed& malformed, std::ostream* stream) {
  *stream << malformed.variable << "=\"" << malformed.value << "\"";
}

const std::vector<BadValue>& not_numbers() {
  static const std::vector<BadValue> values = {
      {"Word", "abc"},        {"Empty", ""},
      {"Trailing", "1x"},     {"Negative", "-1"},
      {"Plus", "+1"},         {"SpaceBefore", " 1"},
      {"SpaceAfter", "1 "},   {"Fraction", "1.0"},
      {"Hexadecimal", "0x1"}, {"TooLarge", "99999999999999999999"}};
  return values;
}

void add(std::vector<Malformed>& table, const Source& source, const std::vector<BadValue>& bad) {
  for (const BadValue& value : bad) {
    table.push_back({source.name + "_" + source.variable + "_" + value.name,
                     merged(source.values, {{source.variable, value.value}}), source.variable,
                     value.value});
  }
}

std::vector<Malformed> malformed_values() {
  const std::vector<Source> ranks = {{"Torchrun", torchrun(), "RANK"},
                                     {"OpenMpi", open_mpi(), "OMPI_COMM_WORLD_RANK"},
                                     {"Pmi", pmi(), "PMI_RANK"},
                                     {"Pmix", pmix(), "PMIX_RANK"},
                                     {"Slurm", slurm(), "SLURM_PROCID"}};
  const std::vector<Source> sizes = {
      {"Torchrun", torchrun(), "WORLD_SIZE"},
      {"OpenMpi", open_mpi(), "OMPI_COMM_WORLD_SIZE"},
      {"Pmi", pmi(), "PMI_SIZE"},
      {"Pmix", pmix(), "SLURM_STEP_NUM_TASKS"},
      {"PmixJob", without(pmix(), "SLURM_STEP_NUM_TASKS"), "SLURM_NTASKS"},
      {"Slurm", slurm(), "SLURM_STEP_NUM_TASKS"},
      {"SlurmJob", without(slurm(), "SLURM_STEP_NUM_TASKS"), "SLURM_NTASKS"}};
  const std::vector<Source> local_ranks = {{"Torchrun", torchrun(), "LOCAL_RANK"},
                                           {"OpenMpi", open_mpi(), "OMPI_COMM_WORLD_LOCAL_RANK"},
                                           {"Pmi", pmi(), "MPI_LOCALRANKID"},
                                           {"Pmix", pmix(), "SLURM_LOCALID"},
                                           {"Slurm", slurm(), "SLURM_LOCALID"}};
  const std::vector<Source> ports = {{"Torchrun", torchrun(), "MASTER_PORT"},
                                     {"Slurm", slurm(), "MASTER_PORT"}};

  const std::vector<BadValue> beyond_int = {{"BeyondInt", "2147483648"}};
  std::vector<Malformed> table;
  for (const auto* sources : {&ranks, &sizes, &local_ranks, &ports}) {
    for (const Source& source : *sources) {
      add(table, source, not_numbers());
      add(table, source, beyond_int);
    }
  }
  for (const Source& source : ranks) add(table, source, {{"NotBelowSize", "12"}});
  for (const Source& source : sizes) add(table, source, {{"Zero", "0"}});
  for (const Source& source : ports) {
    add(table, source, {{"Zero", "0"}, {"BeyondLastPort", "65536"}});
  }
  add(table, {"Slurm", slurm(), "SLURM_JOB_ID"}, not_numbers());
  return table;
}

class MalformedVariable : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedVariable, IsNamedWithItsValue) {
  const std::string message = config_error(GetParam().values);
  expect_names(message, {"variable " + GetParam().variable, "is \"" + GetParam().value + "\""});
}

INSTANTIATE_TEST_SUITE_P(Table, MalformedVariable, ::testing::ValuesIn(malformed_values()),
                         [](const ::testing::TestParamInfo<Malformed>& test) {
                           return test.param.name;
                         });

TEST(VariableBounds, AreSaidInTheMessage) {
  expect_names(config_error(merged(torchrun(), {{"RANK", "abc"}})),
               {"launch", "variable RANK", "is \"abc\", not a number from 0"});
  expect_names(config_error(merged(torchrun(), {{"WORLD_SIZE", "0"}})),
               {"variable WORLD_SIZE", "is \"0\", not a number from 1"});
  expect_names(config_error(merged(torchrun(), {{"MASTER_PORT", "65536"}})),
               {"variable MASTER_PORT", "is \"65536\", not a number from 1 to 65535"});
  expect_names(config_error(merged(torchrun(), {{"RANK", "8"}})),
               {"variable RANK", "is \"8\", but WORLD_SIZE is \"8\""});
}

TEST(VariableBounds, AreAllowedThemselves) {
  EXPECT_EQ(detect(merged(torchrun(), {{"RANK", "7"}})).rank, 7);
  EXPECT_EQ(detect(merged(torchrun(), {{"MASTER_PORT", "1"}})).master_port, 1);
  EXPECT_EQ(detect(merged(torchrun(), {{"MASTER_PORT", "65535"}})).master_port, 65535);
}

}  // namespace
}  // namespace fakescore
