// Archives that torch.save would not write: each is refused with its reason, and none of them
// crashes, hangs or asks for memory without bound.

#include <caffe2/serialize/inline_container.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>
#include <map>
#include <random>
#include <set>

#include "fakescore/error.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/error_of.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TempFolder;
namespace fs = std::filesystem;

const fs::path kIntactFiles = fs::path(FAKESCORE_TEST_DATA) / "torch";
using Records = std::map<std::string, std::string>;

void write_archive(const fs::path& path, const std::string& pickle, const Records& records = {},
                   bool compress = false) {
  caffe2::serialize::PyTorchStreamWriter writer(path.string());
  writer.writeRecord("data.pkl", pickle.data(), pickle.size());
  for (const auto& [name, content] : records) {
    writer.writeRecord(name, content.data(), content.size(), compress);
  }
  writer.writeEndOfFile();
}

std::string text(const std::string& value) {
  return "\x8c"s + static_cast<char>(value.size()) + value;
}

std::string file_content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string replaced(std::string whole, const std::string& from, const std::string& to) {
  const size_t place = whole.find(from);
  EXPECT_NE(place, std::string::npos);
  return whole.replace(place, from.size(), to);
}

/// A pickle of {"x": a float tensor}, with the given size of its storage, offset, sizes, strides.
std::string tensor_pickle(const std::string& storage_size, const std::string& offset,
                          const std::string& sizes, const std::string& strides,
                          const std::string& type = "ctorch\nFloatStorage\n") {
  return "\x80\x02}"s + text("x") + "ctorch._utils\n_rebuild_tensor_v2\n(("s + text("storage") +
         type + text("0") + text("cpu") + storage_size + "tQ" + offset + sizes + strides +
         "\x89}tRs."s;
}

std::string open_error(const fs::path& path) {
  return testing::error_of<TeacherError>([&] {
    const auto teacher = TeacherSource::path(path).open();
    for (size_t i = 0; i < teacher->tensors().size(); ++i) teacher->read(i).contiguous();
  });
}

std::string error_of_archive(const std::string& pickle, const Records& records = {},
                             bool compress = false) {
  const TempFolder folder;
  write_archive(folder / "made.pt", pickle, records, compress);
  return open_error(folder / "made.pt");
}

/// With a tensor's storage of four floats.
std::string error_of_key(const std::string& pickle, const std::string& key) {
  const TempFolder folder;
  write_archive(folder / "made.pt", pickle, {{"data/0", std::string(16, '\0')}});
  return testing::error_of<TeacherError>([&] {
    TeacherSource::path(folder / "made.pt", {key, "", ""}).open();
  });
}

struct HostilePickle {
  const char* name;
  std::string pickle;
  std::string message;
};

class HostilePickles : public ::testing::TestWithParam<HostilePickle> {};

TEST_P(HostilePickles, AreRefusedWithTheirReason) {
  EXPECT_THAT(error_of_archive(GetParam().pickle), HasSubstr(GetParam().message));
}

const std::string kBegin = "\x80\x02"s;
const std::string kDeep = kBegin + std::string(100'000, ']') + std::string(99'999, 'a') + "."s;
/// Dicts that each hold the next one twice: 2^200 names in a few kilobytes.
std::string doubling_dicts() {
  std::string pickle = kBegin + "}q\x00"s + text("x") + "Ns0"s;
  for (int i = 1; i < 200; ++i) {
    const std::string last = "h"s + static_cast<char>(i - 1);
    pickle += "}q"s + static_cast<char>(i) + "("s + text("a") + last + text("b") + last + "u0"s;
  }
  return pickle + "h\xc7."s;
}
/// {"a": D, "m": {0: D, 1: D, ...}}, where D has `keys` pairs that name nothing.
std::string shared_dict(int keys, int references) {
  std::string pickle = kBegin + "}q\x00("s;
  for (int i = 0; i < keys; ++i) pickle += "NN";
  pickle += "u0}("s + text("a") + "h\x00"s + text("m") + "}("s;
  for (int i = 0; i < references; ++i) {
    const auto number = static_cast<uint32_t>(i);
    pickle += "J"s + std::string(reinterpret_cast<const char*>(&number), 4) + "h\x00"s;
  }
  return pickle + "uu.";
}
/// A long text that the memo gives again and again: it costs nothing, since it is not copied.
std::string repeated_text() {
  std::string pickle =
      kBegin + "]X"s + "\x40\x42\x0f\x00"s + std::string(1'000'000, 'x') + "q\x00"s + "a";
  for (int i = 0; i < 100'000; ++i) pickle += "h\x00"s + "a";
  return pickle + "."s;
}

INSTANTIATE_TEST_SUITE_P(
    Pickles, HostilePickles,
    ::testing::Values(
        HostilePickle{"Empty", "", "truncated"}, HostilePickle{"NoPickle", "hello", "protocol"},
        HostilePickle{"Protocol0", "(dp0\n.", "protocol"},
        HostilePickle{"Protocol6", "\x80\x06N.", "protocol"},
        HostilePickle{"NoStop", kBegin + "}", "truncated"},
        HostilePickle{"TextBeyondTheEnd", kBegin + "\x8d\xff\xff\xff\xff\xff\xff\xff\x7f"s,
                      "truncated"},
        HostilePickle{"UnknownOpcode", kBegin + "\xff"s, "opcode 0xff"},
        HostilePickle{"ExtensionRegistry", kBegin + "\x82\x01."s, "opcode 0x82"},
        HostilePickle{"OutsideBuffer", kBegin + "\x97."s, "opcode 0x97"},
        HostilePickle{"EmptyStack", kBegin + "0.", "empty stack"},
        HostilePickle{"BelowTheMark", kBegin + "}(s.", "empty stack"},
        HostilePickle{"NoMark", kBegin + "}u.", "no mark"},
        HostilePickle{"LeftOver", kBegin + "}}.", "left over"},
        HostilePickle{"OddItems", kBegin + "}(Nu.", "key without a value"},
        HostilePickle{"AppendsToADict", kBegin + "}Na.", "not a list"},
        HostilePickle{"SetsItemsOfAList", kBegin + "]NNs.", "not a dict"},
        HostilePickle{"CallsAText", kBegin + text("x") + ")R.", "what is called"},
        HostilePickle{"StateOfAList", kBegin + "]Nb.", "not an object"},
        HostilePickle{"UnknownMemo", kBegin + "h\x07.", "did not store: 7"},
        HostilePickle{"ListInItself",
                      kBegin + "]q\x00h\x00"
                               "a."s,
                      "into itself"},
        HostilePickle{"DictInItsTuple", kBegin + "}q\x00N(h\x00ts."s, "into itself"},
        HostilePickle{"Deep", kDeep, "deeper than 1000"},
        HostilePickle{"Doubling", doubling_dicts(), "holds no tensor in its dicts"},
        HostilePickle{"RepeatedText", repeated_text(), "holds a list, not a state dict"},
        HostilePickle{"ForeignGlobal", kBegin + "csubprocess\nPopen\n."s, "subprocess.Popen"},
        HostilePickle{"StackGlobal", "\x80\x04"s + text("os") + text("system") + "\x93."s,
                      "os.system"},
        HostilePickle{"NotUtf8", kBegin + "cos\n\xff\x01\n."s, "os.\\xff\\x01"}),
    [](const auto& test) { return test.param.name; });

struct HostileTensor {
  const char* name;
  std::string pickle;
  std::string message;
};

class HostileTensors : public ::testing::TestWithParam<HostileTensor> {};

TEST_P(HostileTensors, AreRefusedWithTheirReason) {
  const Records four_floats{{"data/0", std::string(16, '\0')}};
  EXPECT_THAT(error_of_archive(GetParam().pickle, four_floats), HasSubstr(GetParam().message));
}

const std::string kHuge = "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"s;  // 2^63 - 1
const std::string kMinus = "J\xff\xff\xff\xff"s;                        // -1

/// Four elements whose negative is the tensor.
std::string negative_pickle(const std::string& type) {
  return replaced(tensor_pickle("K\x04", "K\x00"s, "K\x04\x85", "K\x01\x85", type), "\x89}t",
                  "\x89}}" + text("neg") + "\x88st");
}
/// One that names its dtype itself.
std::string typed_pickle(const std::string& dtype) {
  const std::string pickle = tensor_pickle("K\x04", "K\x00"s, "K\x04\x85", "K\x01\x85");
  return replaced(replaced(pickle, "_v2", "_v3"), "\x89}t", "\x89}" + dtype + "t");
}

INSTANTIATE_TEST_SUITE_P(
    Tensors, HostileTensors,
    ::testing::Values(
        HostileTensor{"Fine", tensor_pickle("K\x04", "K\x00"s, "K\x04\x85", "K\x01\x85"),
                      "no error"},
        HostileTensor{"TooLong", tensor_pickle("K\x04", "K\x00"s, "K\x05\x85", "K\x01\x85"),
                      "outside its storage"},
        HostileTensor{"Offset", tensor_pickle("K\x04", "K\x01", "K\x04\x85", "K\x01\x85"),
                      "outside its storage"},
        HostileTensor{"HugeOffset", tensor_pickle("K\x04", kHuge, "K\x01\x85", "K\x01\x85"),
                      "outside its storage"},
        HostileTensor{"NegativeOffset", tensor_pickle("K\x04", kMinus, "K\x01\x85", "K\x01\x85"),
                      "outside its storage"},
        HostileTensor{"NegativeSize",
                      tensor_pickle("K\x04", "K\x00"s, kMinus + "\x85", "K\x01\x85"),
                      "outside its storage"},
        HostileTensor{"NegativeStride",
                      tensor_pickle("K\x04", "K\x03", "K\x02\x85", kMinus + "\x85"),
                      "outside its storage"},
        HostileTensor{"StrideOverflows",
                      tensor_pickle("K\x04", "K\x00"s, "K\x03K\x03\x86", kHuge + kHuge + "\x86"),
                      "outside its storage"},
        HostileTensor{"SizesOverflow",
                      tensor_pickle("K\x04", "K\x00"s, kHuge + kHuge + "\x86", "K\x00K\x00\x86"s),
                      "outside its storage"},
        HostileTensor{"Expanded",
                      tensor_pickle("K\x04", "K\x00"s, "J\xff\xff\xff\x7f\x85"s, "K\x00\x85"s),
                      "repeats its elements"},
        HostileTensor{"LargerThanItsRecord",
                      tensor_pickle("K\x05", "K\x00"s, "K\x04\x85", "K\x01\x85"),
                      "storage of 5 elements"},
        HostileTensor{"StorageOverflows", tensor_pickle(kHuge, "K\x00"s, "K\x04\x85", "K\x01\x85"),
                      "storage of"},
        HostileTensor{"SizesWithoutStrides", tensor_pickle("K\x04", "K\x00"s, "K\x04\x85", ")"),
                      "1 sizes and 0 strides"},
        HostileTensor{"TextAsSize",
                      tensor_pickle("K\x04", "K\x00"s, text("4") + "\x85", "K\x01\x85"),
                      "has no sizes"},
        HostileTensor{
            "NoStorageClass",
            tensor_pickle("K\x04", "K\x00"s, "K\x04\x85", "K\x01\x85", "ctorch\nfloat32\n"),
            "storage of the class torch.float32"},
        HostileTensor{
            "QuantizedStorage",
            tensor_pickle("K\x04", "K\x00"s, "K\x04\x85", "K\x01\x85", "ctorch\nQInt8Storage\n"),
            "dtype QInt8"},
        HostileTensor{"Negative", negative_pickle("ctorch\nFloatStorage\n"), "no error"},
        HostileTensor{"NegativeBool", negative_pickle("ctorch\nBoolStorage\n"),
                      "tensor x: is the negative of elements of the dtype Bool"},
        HostileTensor{"NegativeFloat8", negative_pickle("ctorch\nFloat8_e5m2Storage\n"),
                      "of the dtype Float8_e5m2"},
        HostileTensor{"NegativeUInt16", negative_pickle("ctorch\nUInt16Storage\n"),
                      "of the dtype UInt16"},
        HostileTensor{"OwnDtype", typed_pickle("ctorch\nint32\n"), "no error"},
        HostileTensor{"NoDtype", typed_pickle("ctorch\nSize\n"),
                      "dtype torch.Size, which is not a dtype"}),
    [](const auto& test) { return test.param.name; });

const std::string kFine = tensor_pickle("K\x04", "K\x00"s, "K\x04\x85", "K\x01\x85");

/// The calls are popped again: the root's nesting says nothing of them.
TEST(HostileArchives, DictsOfDictsThatNothingLeadsToMayNotNestWithoutEnd) {
  constexpr int kDicts = 100'000;
  std::string pickle =
      kBegin + "ccollections\nOrderedDict\nq\x00"s + "0ctorch._tensor\n_rebuild_from_type_v2\n(NNN";
  for (int i = 0; i <= kDicts; ++i) pickle += "h\x00"s;
  pickle += ")R";
  for (int i = 0; i < kDicts; ++i) pickle += "\x85RN0";
  EXPECT_THAT(error_of_archive(pickle + "tR0}."), HasSubstr("dicts of dicts deeper than 1000"));
}

TEST(HostileArchives, AreRefusedWithTheirReason) {
  const std::string floats(16, '\0');
  EXPECT_THAT(error_of_archive(kFine), AllOf(HasSubstr("tensor x"), HasSubstr("no record data/0")));
  EXPECT_THAT(error_of_archive(kFine, {{"data/0", floats}, {"byteorder", "big"}}),
              HasSubstr("big-endian"));
  EXPECT_EQ(error_of_archive(kFine, {{"data/0", floats}, {"byteorder", "little"}}), "no error");
  EXPECT_THAT(error_of_archive(kFine, {{"data/0", std::string(4096, '\0')}}, true),
              AllOf(HasSubstr("tensor x"), HasSubstr("compressed")));
  const TempFolder folder;
  caffe2::serialize::PyTorchStreamWriter writer((folder / "other.zip").string());
  writer.writeRecord("readme", "x", 1);
  writer.writeEndOfFile();
  EXPECT_THAT(open_error(folder / "other.zip"), HasSubstr("not one that torch.save wrote"));
}

/// Each is quick, or refused before it takes long: in pairs, these are ten thousand million.
TEST(HostileArchives, ADictThatIsNamedManyTimesTakesLittleTime) {
  constexpr int kMany = 100'000;
  EXPECT_THAT(error_of_archive(shared_dict(kMany, kMany)), HasSubstr("holds no tensor"));
  const TempFolder folder;
  write_archive(folder / "shared.pt", shared_dict(kMany, kMany));
  EXPECT_THAT(testing::error_of<TeacherError>([&] {
                TeacherSource::path(folder / "shared.pt", {".", "", ""}).open();
              }),
              HasSubstr("more names than a model has"));
}

/// {0: value, 1: value, ...}, in as many dicts of 1000 names as there are thousands: the value is
/// written once.
std::string named_many_times(const std::string& value, int thousands) {
  const auto number = [](int i) {
    return "M"s + static_cast<char>(i % 256) + static_cast<char>(i / 256);
  };
  std::string pickle = kBegin + value + "q\x00"s + "0}q\x01(";
  for (int i = 0; i < 1000; ++i) pickle += number(i) + "h\x00"s;
  pickle += "u0}(";
  for (int i = 0; i < thousands; ++i) pickle += number(i) + "h\x01";
  return pickle + "u.";
}
/// What makes the tensor of kFine.
std::string fine_tensor() {
  const std::string pickle = tensor_pickle("K\x04", "K\x00"s, "K\x04\x85", "K\x01\x85");
  return pickle.substr(6, pickle.size() - 8);
}
/// A tensor whose metadata has many entries that say nothing.
std::string tensor_with_metadata(int entries) {
  std::string metadata = "\x89}}(";
  for (int i = 0; i < entries; ++i) metadata += text("bit " + std::to_string(i)) + "\x88";
  return replaced(fine_tensor(), "\x89}t", metadata + "ut");
}
std::string parameter_of_parameters(int depth) {
  std::string call = "ctorch._utils\n_rebuild_parameter\nq\x02"s;
  std::string pickle = call + "0"s;
  for (int i = 0; i < depth; ++i) pickle += "h\x02"s;
  pickle += fine_tensor();
  for (int i = 0; i < depth; ++i) pickle += "\x89}\x87R"s;
  return pickle;
}

/// Small files that ask for a million names; what they share cost as much for each of them.
TEST(HostileArchives, AMillionNamesOfOneTensorAreRefused) {
  for (const std::string& value : {tensor_with_metadata(1000), parameter_of_parameters(400)}) {
    EXPECT_THAT(error_of_key(named_many_times(value, 1000), "."),
                HasSubstr("more names than a model has"));
  }
}

/// As many names as a file of their size may have, each of what takes long to look at: to look at
/// it for each name would be refused as too much work.
TEST(HostileArchives, WhatManyNamesShareIsLookedAtOnce) {
  for (const std::string& value : {tensor_with_metadata(16'000), parameter_of_parameters(900)}) {
    EXPECT_EQ(error_of_key(named_many_times(value, 1) + std::string(20'000, 'N'), "."), "no error");
  }
}

/// Sizes and strides count as well: 2^17 names of one tensor of 64 dimensions.
TEST(HostileArchives, ATensorOfManyDimensionsIsNotListedManyTimes) {
  std::string ones = "(";
  for (int dim = 0; dim < 64; ++dim) ones += "K\x01";
  std::string pickle = tensor_pickle("K\x01", "K\x00"s, ones + "t", ones + "t");
  pickle.insert(3, "q\x00"s);
  pickle.pop_back();
  pickle += "0";
  for (int i = 1; i <= 17; ++i) {
    const std::string last = "h"s + static_cast<char>(i - 1);
    pickle += "}q"s + static_cast<char>(i) + "("s + text("a") + last + text("b") + last + "u0"s;
  }
  const TempFolder folder;
  write_archive(folder / "wide.pt", pickle + "h\x11.", {{"data/0", std::string(4, '\0')}});
  EXPECT_THAT(testing::error_of<TeacherError>([&] {
                TeacherSource::path(folder / "wide.pt", {".", "", ""}).open();
              }),
              HasSubstr("more names than a model has"));
}

/// LibTorch's reader inflates these records before it is asked for anything.
TEST(HostileArchives, ARecordThatIsReadAtOnceIsNotInflated) {
  const Records records{{"data/0", std::string(16, '\0')}};
  for (const char* name : {"version", "VERSION", ".data/version"}) {
    Records bomb = records;
    bomb[name] = "3" + std::string(1 << 20, '\n');
    EXPECT_THAT(error_of_archive(kFine, bomb, true),
                AllOf(HasSubstr(name), HasSubstr("is compressed")));
    EXPECT_THAT(error_of_archive(kFine, bomb), HasSubstr("more than 4096 bytes"));
  }
  Records code = records;
  code["version"] = "3\n";
  EXPECT_EQ(error_of_archive(kFine, code), "no error");
}

/// What torch writes has zip64 records; what zip writes does not.
TEST(HostileArchives, TheDirectoryIsFoundWithAndWithoutZip64) {
  const TempFolder folder;
  write_archive(folder / "whole.pt", kFine, {{"data/0", std::string(16, '\0')}});
  const std::string whole = file_content(folder / "whole.pt");
  const auto error_of_content = [&](const std::string& content) {
    std::ofstream(folder / "other.pt", std::ios::binary) << content;
    return open_error(folder / "other.pt");
  };
  EXPECT_EQ(error_of_content(whole), "no error");
  EXPECT_EQ(error_of_content(replaced(whole, "PK\x06\x07", "none")), "no error");
  EXPECT_EQ(error_of_content(replaced(whole, "PK\x06\x06", "none")), "no error");
  const size_t zip64 = whole.find("PK\x06\x06");
  std::string outside = whole;
  outside[zip64 + 55] = '\x7f';
  EXPECT_THAT(error_of_content(outside), HasSubstr("directory lies outside of it"));
  std::string many = whole;
  many[zip64 + 24] = many[zip64 + 32] = '\x7f';
  EXPECT_THAT(error_of_content(many), HasSubstr("directory is broken"));
  EXPECT_THAT(error_of_content(whole.substr(0, zip64)), HasSubstr("no end record"));
  std::string zero = whole;
  zero[zero.rfind("data.pkl")] = '\0';
  EXPECT_THAT(error_of_content(zero), HasSubstr("zero byte in its name"));
}

TEST(HostileArchives, AStorageIsLookedUpByTheNameThatIsInThePickle) {
  const std::string name = "k\xc3\xa9y";
  const std::string pickle = replaced(kFine, text("0"), text(name));
  EXPECT_EQ(error_of_archive(pickle, {{"data/" + name, std::string(16, '\0')}}), "no error");
  EXPECT_THAT(error_of_archive(pickle), HasSubstr("no record data/" + name));
}

/// {"x": tensor, "a": {"b": tensor}, "a.b": tensor}
TEST(HostileArchives, ANameThatIsThereTwiceIsRefused) {
  const std::string entry = kFine.substr(3, kFine.size() - 4);
  const std::string dotted = replaced(entry, text("x"), text("a.b"));
  const std::string nested = text("a") + "}"s + replaced(entry, text("x"), text("b")) + "s"s;
  EXPECT_THAT(error_of_key(kBegin + "}"s + entry + nested + dotted + "."s, "."),
              HasSubstr("tensor a.b: is there twice"));
}

/// What lies unaligned is copied.
TEST(HostileArchives, UnalignedTensorsAreReadRight) {
  const TempFolder folder;
  const float value = 1.2345678F;
  const std::string bytes(reinterpret_cast<const char*>(&value), sizeof(value));
  const std::string pickle = tensor_pickle("K\x01", "K\x00"s, "K\x01\x85", "K\x01\x85");
  std::set<size_t> places;
  for (size_t pad = 0; pad < sizeof(value); ++pad) {
    const fs::path path = folder / ("odd" + std::to_string(pad) + ".pt");
    caffe2::serialize::PyTorchStreamWriter writer(path.string(), true, 1);
    writer.writeRecord("data.pkl", pickle.data(), pickle.size());
    writer.writeRecord("pad", "xxxx", pad);
    writer.writeRecord("data/0", bytes.data(), bytes.size());
    writer.writeEndOfFile();
    places.insert(file_content(path).find(bytes) % sizeof(value));
    EXPECT_EQ(TeacherSource::path(path).open()->read(0).item<float>(), value);
  }
  EXPECT_EQ(places.size(), sizeof(value));
}

/// A few changed bytes, at times a cut end.
std::string mutated(std::string content, std::mt19937_64& random) {
  const uint64_t changes = 1 + random() % 3;
  for (uint64_t i = 0; i < changes; ++i) {
    char& byte = content[random() % content.size()];
    byte = random() % 3 == 0 ? static_cast<char>(byte ^ (1 << random() % 8))
                             : static_cast<char>(random());
  }
  if (random() % 8 == 0) content.resize(random() % content.size());
  return content;
}

class MutatedFiles : public ::testing::TestWithParam<const char*> {};

/// A file with changed bytes is read or refused with a TeacherError, and nothing else.
TEST_P(MutatedFiles, AreReadOrRefused) {
  const TempFolder folder;
  const fs::path path = folder / "mutated.pt";
  const std::string content = file_content(kIntactFiles / GetParam());
  std::mt19937_64 random(17);
  size_t refused = 0;
  constexpr int kRuns = 800;
  for (int run = 0; run < kRuns; ++run) {
    std::ofstream(path, std::ios::binary) << mutated(content, random);
    const std::string error = open_error(path);
    ASSERT_THAT(error, ::testing::Not(HasSubstr("another class"))) << "run " << run;
    if (error != "no error") ++refused;
  }
  EXPECT_GT(refused, static_cast<size_t>(kRuns / 10));
}

INSTANTIATE_TEST_SUITE_P(Files, MutatedFiles,
                         ::testing::Values("dtypes.pt", "layouts.pt", "parameter_objects.pt",
                                           "scripted.jit", "beside_quantized.pt"));

}  // namespace
}  // namespace fakescore
