#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/torch.h>

#include <fstream>

#include "fakescore/error.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/temp_folder.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TempFolder;
using NamedTensors = std::vector<NamedTensor>;

void write_raw(const std::filesystem::path& path, const std::string& header,
               const std::string& data, std::optional<uint64_t> length = std::nullopt) {
  std::ofstream file(path, std::ios::binary);
  const uint64_t stated = length.value_or(header.size());
  file.write(reinterpret_cast<const char*>(&stated), sizeof(stated));
  file << header << data;
}

std::string error_of(const std::filesystem::path& path) {
  try {
    TeacherSource::path(path).open();
  } catch (const TeacherError& error) {
    return error.what();
  }
  return "no error";
}

std::string header_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string header(length, '\0');
  file.read(header.data(), static_cast<std::streamsize>(length));
  return header;
}

at::Tensor read_named(Teacher& teacher, const std::string& name) {
  for (size_t i = 0; i < teacher.tensors().size(); ++i) {
    if (teacher.tensors()[i].name == name) return teacher.read(i);
  }
  throw std::runtime_error("no tensor " + name);
}

TEST(Safetensors, RoundTripsEveryDtypeAndShape) {
  const TempFolder folder;
  NamedTensors tensors;
  for (const auto dtype :
       {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16,
        at::kFloat, at::kDouble, at::kUInt16, at::kUInt32, at::kUInt64, at::kComplexFloat,
        at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kFloat8_e4m3fnuz, at::kFloat8_e5m2fnuz}) {
    tensors.push_back(
        {c10::toString(dtype), torch::randint(0, 2, {3, 5}, torch::kFloat).to(dtype)});
  }
  tensors.push_back(
      {"pairs", torch::arange(24, torch::kByte).view({2, 3, 4}).view(at::kFloat4_e2m1fn_x2)});
  tensors.push_back({"scalar", torch::tensor(2.5)});
  tensors.push_back({"empty", torch::empty({0, 4})});
  tensors.push_back({"strided", torch::arange(12.0).view({3, 4}).t()});
  save_safetensors(folder / "all.safetensors", tensors, {{"made by", "a test"}});

  const auto teacher = TeacherSource::path(folder / "all.safetensors").open();
  ASSERT_EQ(teacher->tensors().size(), tensors.size());
  for (const auto& entry : tensors) {
    const at::Tensor read = read_named(*teacher, entry.name);
    EXPECT_TRUE(testing::bit_equal(read, entry.tensor.contiguous())) << entry.name;
  }
}

TEST(Safetensors, TensorsOutliveTheTeacher) {
  const TempFolder folder;
  save_safetensors(folder / "a.safetensors", {{"x", torch::arange(4.0)}});
  at::Tensor x = TeacherSource::path(folder.path()).open()->read(0);
  EXPECT_EQ(x.sum().item<float>(), 6.0F);
}

TEST(Safetensors, UnalignedDataIsReadRight) {
  const TempFolder folder;
  const float value = 1.5F;
  const std::string bytes(reinterpret_cast<const char*>(&value), sizeof(value));
  std::string header = R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  while (header.size() % 4 != 1) header += ' ';
  write_raw(folder / "odd.safetensors", header, bytes);
  const auto teacher = TeacherSource::path(folder / "odd.safetensors").open();
  EXPECT_EQ(teacher->read(0).item<float>(), value);
}

/// The bytes of safetensors 0.8's own writer.
TEST(Safetensors, ReadsTheDtypesOfFourAndEightBits) {
  const TempFolder folder;
  write_raw(folder / "bits.safetensors",
            R"({"b":{"dtype":"F8_E5M2FNUZ","shape":[2],"data_offsets":[0,2]},)"
            R"("c":{"dtype":"F8_E8M0","shape":[2],"data_offsets":[2,4]},)"
            R"("a":{"dtype":"F4","shape":[2,4],"data_offsets":[4,8]}})",
            "\x41\x42\x43\x44\x45\x46\x47\x48");
  const auto teacher = TeacherSource::path(folder / "bits.safetensors").open();
  const at::Tensor a = read_named(*teacher, "a");
  EXPECT_EQ(a.scalar_type(), at::kFloat4_e2m1fn_x2);
  EXPECT_EQ(a.sizes(), at::IntArrayRef({2, 2}));  // pairs
  EXPECT_TRUE(
      a.view(at::kByte).equal(torch::tensor({0x45, 0x46, 0x47, 0x48}, at::kByte).view({2, 2})));
  const at::Tensor b = read_named(*teacher, "b");
  EXPECT_EQ(b.scalar_type(), at::kFloat8_e5m2fnuz);
  EXPECT_TRUE(b.view(at::kByte).equal(torch::tensor({0x41, 0x42}, at::kByte)));
  EXPECT_EQ(read_named(*teacher, "c").scalar_type(), at::kFloat8_e8m0fnu);
}

TEST(Safetensors, MetadataMayBeNullAndKeepsTheLastOfEqualKeys) {
  const TempFolder folder;
  const std::string tensor = R"("x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  write_raw(folder / "a.safetensors", R"({"__metadata__":null,)" + tensor, "1");
  EXPECT_TRUE(TeacherSource::path(folder / "a.safetensors").open()->metadata().empty());
  write_raw(folder / "b.safetensors", R"({"__metadata__":{"k":"1","k":"2"},)" + tensor, "1");
  EXPECT_EQ(TeacherSource::path(folder / "b.safetensors").open()->metadata().at("k"), "2");
}

TEST(Safetensors, FieldsThatNobodyKnowsAreLeftAlone) {
  const TempFolder folder;
  write_raw(folder / "a.safetensors",
            R"({"x":{"new":{"dtype":["shape",{"data_offsets":1.5}]},"dtype":"U8","shape":[1],)"
            R"("data_offsets":[0,1],"other":[[],null,true,-1]}})",
            "1");
  EXPECT_EQ(TeacherSource::path(folder / "a.safetensors").open()->read(0).item<uint8_t>(), '1');
}

TEST(Safetensors, EmptyTensorsMayHaveLargeSizes) {
  const TempFolder folder;
  write_raw(folder / "a.safetensors",
            R"({"x":{"dtype":"F32","shape":[0,1099511627776],"data_offsets":[0,0]}})", "");
  EXPECT_EQ(TeacherSource::path(folder / "a.safetensors").open()->read(0).size(1),
            int64_t{1} << 40);
}

struct HostileHeader {
  const char* name;
  std::string header;
  size_t data_bytes;
  std::string message;
  std::optional<uint64_t> length;
};

class SafetensorsHostile : public ::testing::TestWithParam<HostileHeader> {};

TEST_P(SafetensorsHostile, IsRefusedWithItsReason) {
  const TempFolder folder;
  const HostileHeader& hostile = GetParam();
  const auto path = folder / "hostile.safetensors";
  write_raw(path, hostile.header, std::string(hostile.data_bytes, '\0'), hostile.length);
  EXPECT_THAT(error_of(path), AllOf(HasSubstr(hostile.message), HasSubstr(path.string())));
}

INSTANTIATE_TEST_SUITE_P(
    Headers, SafetensorsHostile,
    ::testing::Values(
        HostileHeader{"LengthBeyondFile", "{}", 0, "header length", 1000},
        HostileHeader{"LengthOverflows", "{}", 0, "header length", UINT64_MAX},
        HostileHeader{"NotJson", "{\"x\":", 0, "not JSON", {}},
        HostileHeader{"NotAnObject", "[1]", 0, "not a JSON object", {}},
        HostileHeader{"UnknownDtype",
                      R"({"x":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}})",
                      4,
                      "unknown dtype F7",
                      {}},
        HostileHeader{"NegativeShape",
                      R"({"x":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})",
                      1,
                      "shape is not a list of sizes",
                      {}},
        HostileHeader{
            "ShapeOverflows",
            R"({"x":{"dtype":"U8","shape":[4294967296,4294967296,2],"data_offsets":[0,1]}})",
            1,
            "shape overflows",
            {}},
        HostileHeader{"ShapeAndOffsetsDiffer",
                      R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})",
                      4,
                      "needs 8 bytes",
                      {}},
        HostileHeader{"OffsetsBeyondFile",
                      R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                      4,
                      "truncated or hostile",
                      {}},
        HostileHeader{"OffsetsBackwards",
                      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})",
                      1,
                      "truncated or hostile",
                      {}},
        HostileHeader{"Overlap",
                      R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                      R"("y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                      3,
                      "overlaps",
                      {}},
        HostileHeader{"Hole",
                      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("y":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                      3,
                      "hole",
                      {}},
        HostileHeader{"TrailingBytes",
                      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                      5,
                      "belong to no tensor",
                      {}},
        HostileHeader{"NameTwice",
                      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                      2,
                      "twice",
                      {}},
        HostileHeader{"NestedWithoutEnd",
                      R"({"x":{"dtype":"U8","data_offsets":[0,1],"shape":)" +
                          std::string(100'000, '[') + std::string(100'000, ']') + "}}",
                      1,
                      "shape is not a list of sizes",
                      {}},
        HostileHeader{"TextAfterNul",
                      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})" +
                          std::string("\0{\"y\":1}", 8),
                      1,
                      "it has a NUL at byte 53",
                      {}},
        HostileHeader{
            "PaddedWithNul",
            R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})" + std::string(5, '\0'),
            1,
            "it has a NUL",
            {}},
        HostileHeader{"ByteOrderMark",
                      "\xef\xbb\xbf"
                      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                      1,
                      "byte order mark",
                      {}},
        HostileHeader{
            "StridesOfNoElementsOverflow",
            R"({"x":{"dtype":"F32","shape":[0,1099511627776,1099511627776],"data_offsets":[0,0]}})",
            0,
            "shape overflows: [0, 1099511627776, 1099511627776]",
            {}},
        HostileHeader{
            "NoElementsAtTheEndOverflow",
            R"({"x":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})",
            0,
            "shape overflows",
            {}},
        HostileHeader{
            "SizeBeyondSigned",
            R"({"x":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]}})",
            0,
            "shape overflows",
            {}},
        HostileHeader{"OddPairs",
                      R"({"x":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}})",
                      3,
                      "does not end with an even size",
                      {}},
        HostileHeader{"ScalarOfHalfAByte",
                      R"({"x":{"dtype":"F4","shape":[],"data_offsets":[0,1]}})",
                      1,
                      "does not end with an even size",
                      {}},
        HostileHeader{"FieldTwice",
                      R"({"x":{"dtype":"U8","shape":[1],"dtype":"I8","data_offsets":[0,1]}})",
                      1,
                      "header entry has dtype twice",
                      {}},
        HostileHeader{"MetadataTwice",
                      R"({"__metadata__":{"a":"b"},"__metadata__":{}})",
                      0,
                      "__metadata__ is in the header twice",
                      {}},
        HostileHeader{"MetadataOfNumbers",
                      R"({"__metadata__":{"a":1}})",
                      0,
                      "does not map texts to texts",
                      {}},
        HostileHeader{"MetadataIsAList", R"({"__metadata__":["a"]})", 0, "does not map texts", {}},
        HostileHeader{"NestedInAFieldThatNobodyKnows",
                      R"({"x":{"new":)" + std::string(127, '[') + std::string(127, ']') + "}}",
                      0,
                      "nests deeper than 127",
                      {}},
        HostileHeader{"NullEntry", R"({"x":null})", 0, "lacks dtype", {}},
        HostileHeader{"ThreeOffsets",
                      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})",
                      1,
                      "data_offsets are not two offsets",
                      {}},
        HostileHeader{"EntryLacksDtype",
                      R"({"x":{"shape":[1],"data_offsets":[0,1]}})",
                      1,
                      "lacks dtype",
                      {}}),
    [](const auto& test) { return test.param.name; });

TEST(Safetensors, NamesWhatIsMissing) {
  const TempFolder folder;
  EXPECT_THAT(error_of(folder / "none.safetensors"), HasSubstr("does not exist"));
  EXPECT_THAT(error_of(folder.path()), HasSubstr("holds no .safetensors"));
  std::ofstream(folder / "short.safetensors") << "abc";
  EXPECT_THAT(error_of(folder / "short.safetensors"), HasSubstr("truncated"));
  std::ofstream(folder / "zip.safetensors") << "PK\x03\x04-and-more-bytes";
  EXPECT_THAT(error_of(folder / "zip.safetensors"), HasSubstr("zip archive"));
  EXPECT_THAT(error_of(folder.path()), HasSubstr("several checkpoints"));
}

class SafetensorsIndex : public ::testing::Test {
 protected:
  SafetensorsIndex() {
    save_safetensors(folder_ / "a.safetensors", {{"x", torch::ones({2})}});
    save_safetensors(folder_ / "b.safetensors", {{"y", torch::zeros({3})}});
  }
  std::string error_with(const std::string& weight_map) {
    std::ofstream(folder_ / "model.safetensors.index.json")
        << R"({"metadata":{},"weight_map":)" << weight_map << "}";
    return error_of(folder_.path());
  }
  TempFolder folder_;
};

TEST_F(SafetensorsIndex, ReadsEveryShard) {
  EXPECT_EQ(error_with(R"({"x":"a.safetensors","y":"b.safetensors"})"), "no error");
  const auto teacher = TeacherSource::path(folder_.path()).open();
  EXPECT_EQ(read_named(*teacher, "x").sum().item<float>(), 2.0F);
  EXPECT_EQ(read_named(*teacher, "y").numel(), 3);
}

TEST_F(SafetensorsIndex, RefusesWhatItCannotTrust) {
  EXPECT_THAT(error_with(R"({"x":"../a.safetensors"})"), HasSubstr("own folder"));
  EXPECT_THAT(error_with(R"({"x":"/etc/passwd"})"), HasSubstr("own folder"));
  EXPECT_THAT(error_with(R"({"x":".."})"), HasSubstr("own folder"));
  EXPECT_THAT(error_with(R"({"x":7})"), HasSubstr("not a file name"));
  EXPECT_THAT(error_with("{}"), HasSubstr("no weight_map"));
  EXPECT_THAT(error_with(R"(["a.safetensors"])"), HasSubstr("no weight_map"));
  EXPECT_THAT(error_with(R"({"x":"a.safetensors\u0000.safetensors"})"), HasSubstr("own folder"));
  EXPECT_THAT(error_with("{\"x\":\"" + std::string(256, 'a') + "\"}"), HasSubstr("own folder"));
  EXPECT_THAT(error_with(R"({"x":"a.safetensors","x":"b.safetensors"})"), HasSubstr("twice"));
  EXPECT_THAT(error_with(R"({"x":"a.safetensors"},"weight_map":{"y":"b.safetensors"})"),
              HasSubstr("two weight_maps"));
  EXPECT_THAT(error_with(R"({"x":"a.safetensors","y":"b.safetensors"}})" + std::string(1, '\0')),
              HasSubstr("has a NUL"));
  EXPECT_THAT(error_with(R"({"x":"c.safetensors"})"), HasSubstr("c.safetensors"));
  EXPECT_THAT(error_with(R"({"x":"a.safetensors","z":"a.safetensors"})"),
              HasSubstr("missing from the shard"));
  EXPECT_THAT(error_with(R"({"x":"a.safetensors","q":"b.safetensors"})"),
              HasSubstr("does not say so"));
}

TEST(Safetensors, AnIndexHasASizeLimit) {
  const TempFolder folder;
  const auto index = folder / "model.safetensors.index.json";
  std::ofstream(index) << "{}";
  std::filesystem::resize_file(index, 100'000'001);  // sparse
  EXPECT_THAT(error_of(folder.path()), HasSubstr("has 100000001 bytes"));
}

TEST(Safetensors, AFolderThatCannotBeReadIsATeacherError) {
  const TempFolder folder;
  const auto name = folder / "model.safetensors";
  std::filesystem::create_symlink(name, name);  // a loop
  EXPECT_THAT(error_of(folder.path()),
              AllOf(HasSubstr(name.string()), HasSubstr("cannot be read")));
}

TEST(Safetensors, APipeIsRefusedAndNotWaitedFor) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(error_of(folder / "pipe.safetensors"), HasSubstr("not a regular file"));
}

TEST(SafetensorsWriter, LeavesNothingBehindWhenItFails) {
  const TempFolder folder;
  EXPECT_THROW(save_safetensors(folder / "no" / "file.safetensors", {{"x", torch::ones(1)}}),
               TeacherError);
  EXPECT_THROW(save_safetensors(folder / "m.safetensors", {{"x", torch::ones(1, torch::kMeta)}}),
               TeacherError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SafetensorsWriter, KeepsTheOrderAndEscapesNames) {
  const TempFolder folder;
  const auto path = folder / "names.safetensors";
  save_safetensors(path,
                   {{"z", torch::ones({2, 1})},
                    {"a \"quoted\"\n", torch::ones({})},
                    {"\u00e9", torch::ones({0, 3})}},
                   {{"z\\", "tied"}, {"format", "pt"}});
  EXPECT_THAT(
      header_of(path),
      HasSubstr(R"({"__metadata__":{"format":"pt","z\\":"tied"},)"
                R"("z":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                R"("a \"quoted\"\n":{"dtype":"F32","shape":[],"data_offsets":[8,12]},)"
                "\"\u00e9\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[12,12]}}"));
  EXPECT_EQ(TeacherSource::path(path).open()->tensors().size(), 3U);
}

TEST(SafetensorsWriter, RefusesNamesThatAHeaderCannotHold) {
  const TempFolder folder;
  const auto refused = [&](const NamedTensors& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    try {
      save_safetensors(folder / "names.safetensors", tensors, metadata);
    } catch (const TeacherError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const at::Tensor one = torch::ones({1});
  EXPECT_THAT(refused({{"x", one}, {"y", one}, {"x", one}}), HasSubstr("tensor x: is given twice"));
  EXPECT_THAT(refused({{"__metadata__", one}}), HasSubstr("keeps this name for itself"));
  EXPECT_THAT(refused({{"latin \xe9", one}}), HasSubstr("\"latin \\xe9\", which is not UTF-8"));
  EXPECT_THAT(refused({{"x", one}}, {{"tied \xe9", "x"}}),
              HasSubstr("\"tied \\xe9\", which is not"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace fakescore
