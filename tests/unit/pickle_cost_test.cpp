// What pickles cost: never more than the bytes that they have allow.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstring>

#include "fakescore/error.hpp"
#include "support/error_of.hpp"
#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/read_pickle.hpp"
#include "teacher/formats/torch_file/torch_globals.hpp"

namespace fakescore::detail {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr size_t kFillBytes = 1 << 20;
/// For what the allocator itself takes, whatever is read.
constexpr size_t kAllocatorBytes = 1 << 18;

size_t allocated_bytes() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

struct Filling {
  const char* name;
  std::string before;
  std::string repeated;
  std::string after;
};

std::string filled_pickle(const Filling& filling) {
  std::string pickle = "\x80\x04"s + filling.before;
  while (pickle.size() < kFillBytes) pickle += filling.repeated;
  return pickle + filling.after + ".";
}

class PickleCost : public ::testing::TestWithParam<Filling> {};

/// What is read stays within 64 bytes a byte; nothing of it is refused that Python would read.
TEST_P(PickleCost, IsBoundedByItsBytes) {
  const std::string bytes = filled_pickle(GetParam());
  const size_t before = allocated_bytes();
  ReadBudget budget("made.pt", bytes.size());
  const Pickle pickle =
      read_pickle({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()},
                  is_torch_file_global, ForeignGlobals::kKeep, budget);
  EXPECT_LE(allocated_bytes() - before, 64 * bytes.size() + kAllocatorBytes);
}

INSTANTIATE_TEST_SUITE_P(
    Fillings, PickleCost,
    ::testing::Values(
        Filling{"EmptyTuples", "(", ")", "t"}, Filling{"EmptyLists", "(", "]", "t"},
        Filling{"EmptyDicts", "(", "}", "t"}, Filling{"EmptySets", "(", "\x8f", "t"},
        Filling{"RememberedLists", "(", "]\x94", "t"}, Filling{"Nones", "(", "N", "t"},
        Filling{"Bools", "]", "(" + std::string(1000, '\x88') + "e", ""},
        Filling{"Appended", "]", "Na", ""}, Filling{"Pairs", "}(", "NN", "u"},
        Filling{"SetItems", "}", "NNs", ""}, Filling{"OneTuples", "(", "N\x85\x85\x85\x85", "t"},
        Filling{"Remembered", "N", "\x94", ""},
        Filling{"Objects", "(cA\nB\nq\x00"s, "h\x00)\x81"s, "t"},
        Filling{"Plain", "(ccollections\nOrderedDict\nq\x00"s, "h\x00)R"s, "t"},
        Filling{"Calls", "(cA\nB\n)R", "2)R", "t"}, Filling{"Storages", "(", "NQ", "t"},
        Filling{"Globals", "(", "ca\nb\n", "t"}, Filling{"Numbers", "(", "K\x01", "t"}),
    [](const auto& test) { return test.param.name; });

/// Each memo place is one that a hash table of any size would put with the others.
TEST(PickleCosts, PlacesOfTheMemoMayBeAnyNumbers) {
  std::string bytes = "\x80\x02N"s;
  for (uint32_t place = 1; bytes.size() < kFillBytes; ++place) {
    const uint32_t number = place << 12U;
    bytes += "r" + std::string(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  bytes += ".";
  ReadBudget budget("made.pt", bytes.size());
  const Pickle pickle =
      read_pickle({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()},
                  is_torch_file_global, ForeignGlobals::kKeep, budget);
  EXPECT_TRUE(pickle.root.is_none());
}

TEST(PickleCosts, NamesThatGrowAreRefused) {
  const uint32_t length = 100'000;
  std::string bytes = "\x80\x04X"s + std::string(reinterpret_cast<const char*>(&length), 4) +
                      std::string(length, 'm') + "q\x00(h\x00"s;
  for (int i = 0; i < 1000; ++i) bytes += "h\x00h\x00\x93"s;
  bytes += "t.";
  ReadBudget budget("made.pt", bytes.size());
  const auto read = [&] {
    read_pickle({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()},
                is_torch_file_global, ForeignGlobals::kKeep, budget);
  };
  EXPECT_THAT(fakescore::testing::error_of<TeacherError>(read),
              AllOf(HasSubstr("made.pt: "), HasSubstr("asks for more memory"),
                    HasSubstr(std::to_string(bytes.size()) + " bytes")));
}

TEST(ReadBudgets, GrowWithWhatIsReadAndAreSpent) {
  ReadBudget budget("made.pt", 1000);
  budget.add_bytes(24);
  budget.charge_memory(ReadBudget::kMemoryPerByte * (1024 + ReadBudget::kFreeBytes), "does it");
  budget.charge_work(ReadBudget::kStepsPerByte * (1024 + ReadBudget::kFreeBytes), "does it");
  using fakescore::testing::error_of;
  EXPECT_THAT(error_of<TeacherError>([&] { budget.charge_memory(1, "lists too much"); }),
              AllOf(HasSubstr("made.pt: lists too much, and so asks for more memory"),
                    HasSubstr("1024 bytes")));
  EXPECT_THAT(error_of<TeacherError>([&] { budget.charge_work(1, "looks too often"); }),
              HasSubstr("looks too often, and so asks for more work"));
  EXPECT_THAT(error_of<TeacherError>([&] { budget.charge_text(0, "looks too often"); }),
              HasSubstr("more work"));
}

}  // namespace
}  // namespace fakescore::detail
