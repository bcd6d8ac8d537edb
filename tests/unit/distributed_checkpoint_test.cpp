#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/torch.h>

#include <fstream>
#include <iterator>

#include "fakescore/error.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/error_of.hpp"
#include "support/load_teacher.hpp"
#include "support/temp_folder.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::bit_equal;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TempFolder;

const fs::path kData = fs::path(FAKESCORE_TEST_DATA) / "dcp";
constexpr const char* kFastGen = "0000003.net_model";

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

TeacherPathOptions below(const std::string& key) {
  TeacherPathOptions options;
  options.key = key;
  return options;
}

/// A copy that a test may damage.
void copy_checkpoint(const char* name, const fs::path& to) {
  fs::copy(kData / name, to, fs::copy_options::recursive);
}

std::string opening_error(const fs::path& path, const TeacherPathOptions& options = {}) {
  return error_of<TeacherError>([&] { TeacherSource::path(path, options).open(); });
}

/// The error of opening it and reading all of its tensors.
std::string reading_error(const fs::path& path) {
  return error_of<TeacherError>([&] { testing::read_tensors(path); });
}

/// Every expected tensor below the prefix, and no other.
void expect_values(Teacher& teacher, const std::string& name, const std::string& prefix) {
  size_t expected = 0;
  std::map<std::string, at::Tensor> read;
  for (size_t i = 0; i < teacher.tensors().size(); ++i) {
    const TeacherTensor& tensor = teacher.tensors()[i];
    read[tensor.name] = teacher.read(i);
    EXPECT_EQ(read[tensor.name].sizes(), tensor.sizes) << tensor.name;
    EXPECT_EQ(read[tensor.name].scalar_type(), tensor.dtype) << tensor.name;
    EXPECT_TRUE(fs::exists(tensor.file)) << tensor.name << " in " << tensor.file;
  }
  for (const auto& [full_name, value] : testing::read_tensors(kData / (name + ".safetensors"))) {
    if (!full_name.starts_with(prefix)) continue;
    ++expected;
    const std::string key = full_name.substr(prefix.size());
    ASSERT_TRUE(read.contains(key)) << key;
    EXPECT_TRUE(bit_equal(read[key], value)) << key;
  }
  EXPECT_GT(expected, 0U);
  EXPECT_EQ(teacher.tensors().size(), expected);
}

class DistributedCheckpointValues : public ::testing::TestWithParam<const char*> {};

TEST_P(DistributedCheckpointValues, EveryTensorIsWholeAndBitEqual) {
  const auto teacher = TeacherSource::path(kData / GetParam()).open();
  expect_values(*teacher, GetParam(), "");
}

INSTANTIATE_TEST_SUITE_P(Saved, DistributedCheckpointValues,
                         ::testing::Values("nested", kFastGen, "mesh", "safetensors", "hf_shards"),
                         [](const auto& name) {
                           return name.param == std::string(kFastGen) ? "fsdp2"
                                                                      : std::string(name.param);
                         });

TEST(DistributedCheckpoint, TheMetadataFileIsAPathAsWell) {
  const auto teacher = TeacherSource::path(kData / "mesh" / ".metadata").open();
  expect_values(*teacher, "mesh", "");
}

TEST(DistributedCheckpoint, AKeyChoosesWhatLiesBelowIt) {
  expect_values(*TeacherSource::path(kData / "nested", below("model")).open(), "nested", "model.");
  expect_values(*TeacherSource::path(kData / "nested", below("model.blocks.0")).open(), "nested",
                "model.blocks.0.");
  expect_values(*TeacherSource::path(kData / "nested", below(".")).open(), "nested", "");
  expect_values(*TeacherSource::path(kData / "hf_shards", below("a")).open(), "hf_shards", "a.");
}

TEST(DistributedCheckpoint, AnUnknownKeyIsAnErrorThatNamesThoseThatExist) {
  EXPECT_THAT(opening_error(kData / "nested", below("mod")),
              AllOf(HasSubstr("nested/.metadata"), HasSubstr("below the key mod;"),
                    HasSubstr("begin with: model, optim, rng")));
  EXPECT_THAT(opening_error(kData / "hf_shards", below("b")), HasSubstr("begin with: a"));
}

TEST(DistributedCheckpoint, AVariantIsAnError) {
  TeacherPathOptions options;
  options.variant = "fp16";
  for (const char* name : {"nested", "hf_shards"}) {
    EXPECT_THAT(opening_error(kData / name, options),
                AllOf(HasSubstr(name), HasSubstr("has no variant fp16")));
  }
}

TEST(DistributedCheckpoint, TensorsAreSortedByWhereTheyLie) {
  const auto teacher = TeacherSource::path(kData / kFastGen, below("transformer")).open();
  std::vector<std::string> names;
  for (const TeacherTensor& tensor : teacher->tensors()) {
    names.push_back(tensor.name);
    EXPECT_EQ(tensor.file, (kData / kFastGen / "__0_0.distcp").string());
  }
  EXPECT_THAT(names,
              ElementsAre("counter", "first.weight", "first.bias", "second.weight", "second.bias"));
}

TEST(DistributedCheckpoint, OneAlignedChunkIsAViewAndOutlivesTheTeacher) {
  auto teacher = TeacherSource::path(kData / kFastGen).open();
  ASSERT_EQ(teacher->tensors()[0].name, "transformer.counter");
  const at::Tensor counter = teacher->read(0);
  EXPECT_EQ(counter.const_data_ptr(), teacher->read(0).const_data_ptr());
  teacher.reset();
  EXPECT_EQ(counter.item<int64_t>(), 41);
}

TEST(DistributedCheckpoint, SaysWhichFilesItReads) {
  const TempFolder folder;
  copy_checkpoint(kFastGen, folder.path());
  const auto teacher = TeacherSource::path(folder.path()).open();
  const auto files = teacher->files();
  ASSERT_EQ(files.size(), 3U);
  const std::string metadata = read_file(folder / ".metadata");
  const char* names[] = {".metadata", "__0_0.distcp", "__1_0.distcp"};
  for (size_t i = 0; i < files.size(); ++i) {
    struct stat status {};
    ASSERT_EQ(::stat((folder / names[i]).c_str(), &status), 0);
    EXPECT_EQ(files[i].path, (folder / names[i]).string());
    EXPECT_EQ(files[i].bytes, fs::file_size(folder / names[i]));
    EXPECT_EQ(files[i].modified_ns,
              int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec);
    EXPECT_EQ(files[i].header, digest_bytes(metadata.data(), metadata.size()));
  }
  EXPECT_EQ(TeacherSource::path(kData / "hf_shards").open()->files().size(), 2U);
}

size_t resident_pages() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0;
  size_t resident = 0;
  statm >> total >> resident;
  return resident;
}

TEST(DistributedCheckpoint, OpeningReadsNothingOfTheDataFiles) {
  const TempFolder folder;
  copy_checkpoint("mesh", folder.path());
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (entry.path().extension() != ".distcp") continue;
    fs::resize_file(entry.path(), 0);
    fs::resize_file(entry.path(), uintmax_t{1} << 32);  // sparse: 4 GiB of zeros
  }
  const size_t before = resident_pages();
  const auto teacher = TeacherSource::path(folder.path()).open();
  EXPECT_EQ(teacher->tensors().size(), 9U);
  EXPECT_LT(resident_pages(), before + (size_t{1} << 12));  // 16 MiB of 32 GiB
  EXPECT_THAT(error_of<TeacherError>([&] { teacher->read(0); }), HasSubstr(".distcp"));
}

TEST(DistributedCheckpoint, AMissingOrTruncatedFileIsNamed) {
  const TempFolder folder;
  copy_checkpoint(kFastGen, folder.path());
  fs::resize_file(folder / "__1_0.distcp", 3000);
  EXPECT_THAT(opening_error(folder.path()),
              AllOf(HasSubstr("__1_0.distcp, tensor transformer.first.bias"),
                    HasSubstr("has 3000 bytes and a chunk should end at byte 3218")));
  fs::remove(folder / "__1_0.distcp");
  EXPECT_THAT(opening_error(folder.path()),
              AllOf(HasSubstr("__1_0.distcp"), HasSubstr("cannot be opened")));
}

TEST(DistributedCheckpoint, AChunkThatIsAnotherIsToldApart) {
  const TempFolder folder;
  copy_checkpoint(kFastGen, folder.path());
  // The archives of logvar.weight, (1, 7), and of rank 0's first.bias, (4), have the same length.
  std::string bytes = read_file(folder / "__0_0.distcp");
  bytes.replace(3218, 1577, bytes.substr(8013, 1577));
  write_file(folder / "__0_0.distcp", bytes);
  EXPECT_THAT(reading_error(folder.path()),
              AllOf(HasSubstr("__0_0.distcp, tensor transformer.first.bias"),
                    HasSubstr("its chunk at byte 3218 holds another dtype or shape"),
                    HasSubstr("files of one save")));
  bytes.replace(0, 100, std::string(100, 'x'));
  write_file(folder / "__0_0.distcp", bytes);
  EXPECT_THAT(reading_error(folder.path()),
              AllOf(HasSubstr("__0_0.distcp, tensor transformer.counter"),
                    HasSubstr("its chunk at byte 0 ")));
  const auto teacher = TeacherSource::path(folder.path()).open();
  const std::string first = error_of<TeacherError>([&] { teacher->read(0); });
  EXPECT_THAT(first, HasSubstr("its chunk at byte 0 "));
  EXPECT_EQ(error_of<TeacherError>([&] { teacher->read(0); }), first);
}

TEST(DistributedCheckpoint, WhatIsCompressedIsRefusedByItsName) {
  EXPECT_THAT(opening_error(kData / "zstd"), AllOf(HasSubstr("tensor a"), HasSubstr("stream.zstd"),
                                                   HasSubstr("without _extensions")));
}

TEST(DistributedCheckpoint, OneRanksFileAloneIsRefused) {
  EXPECT_THAT(opening_error(kData / "mesh" / "__0_0.distcp"),
              HasSubstr("give the folder that holds it"));
  for (const char* shard : {"shard-00001-model-00001-of-00001.safetensors",
                            "shard-00002-model-00001-of-00001.safetensors"}) {
    EXPECT_THAT(opening_error(kData / "hf_shards" / shard),
                AllOf(HasSubstr(shard), HasSubstr("one rank's share"),
                      HasSubstr("consolidate_safetensors_files")));
  }
  // Under another name its offsets tell.
  const TempFolder folder;
  fs::copy(kData / "hf_shards" / "shard-00002-model-00001-of-00001.safetensors",
           folder / "model.safetensors");
  EXPECT_THAT(opening_error(folder.path()), HasSubstr("one rank's share"));
}

TEST(DistributedCheckpoint, AShardThatIsMissingLeavesTensorsThatAreNotWhole) {
  const TempFolder folder;
  copy_checkpoint("hf_shards", folder.path());
  fs::remove(folder / "shard-00001-model-00001-of-00001.safetensors");
  EXPECT_THAT(opening_error(folder.path()),
              AllOf(HasSubstr("tensor a."), HasSubstr("its chunks leave elements out")));
}

/// Replaces a text of a pickle by another of the same length.
void patch_metadata(const fs::path& folder, const std::string& from, const std::string& to) {
  ASSERT_EQ(from.size(), to.size());
  std::string bytes = read_file(folder / ".metadata");
  size_t place = bytes.find(from);
  ASSERT_NE(place, std::string::npos);
  for (; place != std::string::npos; place = bytes.find(from, place)) {
    bytes.replace(place, from.size(), to);
  }
  write_file(folder / ".metadata", bytes);
}

TEST(DistributedCheckpoint, AGlobalThatDoesNotBelongThereIsRefused) {
  const TempFolder folder;
  copy_checkpoint("mesh", folder.path());
  patch_metadata(folder.path(), "_StorageInfo", "_StorageEvil");
  EXPECT_THAT(opening_error(folder.path()),
              AllOf(HasSubstr(".metadata"),
                    HasSubstr("torch.distributed.checkpoint.filesystem._StorageEvil")));
}

TEST(DistributedCheckpoint, APathOutOfTheFolderIsRefused) {
  for (const char* outside : {"../_0.distcp", "/etc/machine", "a/b/c.distcp"}) {
    const TempFolder folder;
    copy_checkpoint(kFastGen, folder.path());
    patch_metadata(folder.path(), "__0_0.distcp", outside);
    EXPECT_THAT(opening_error(folder.path()),
                AllOf(HasSubstr(outside), HasSubstr("may only name files beside it")));
  }
}

/// The error where the metadata names a file otherwise.
std::string error_with_file_name(const std::string& name) {
  const TempFolder folder;
  copy_checkpoint("mesh", folder.path());
  std::string bytes = read_file(folder / ".metadata");
  const std::string short_text = "\x8c\x0c__0_0.distcp";
  const size_t place = bytes.find(short_text);
  EXPECT_NE(place, std::string::npos);
  const auto length = static_cast<uint32_t>(name.size());
  bytes.replace(place, short_text.size(),
                "X" + std::string(reinterpret_cast<const char*>(&length), 4) + name);
  write_file(folder / ".metadata", bytes);
  return opening_error(folder.path());
}

TEST(DistributedCheckpoint, AFileNameThatNoFileCanHaveIsRefused) {
  EXPECT_THAT(error_with_file_name(std::string("__0_0.distcp\0", 13)),
              AllOf(HasSubstr(".metadata, tensor "),
                    HasSubstr("__0_0.distcp\\x00, which is not a file name")));
  // Many chunks name it: copied for each, a name of 70,000 bytes took 4.3 GB once.
  EXPECT_THAT(error_with_file_name(std::string(70'000, 'a')),
              HasSubstr("lies in " + std::string(200, 'a') + ", which is not a file name"));
}

TEST(DistributedCheckpoint, ALinkThatLoopsBesideItIsNothingToIt) {
  for (const char* name : {"mesh", "hf_shards"}) {
    const TempFolder folder;
    copy_checkpoint(name, folder.path());
    fs::create_symlink(folder / "loop", folder / "loop");
    expect_values(*TeacherSource::path(folder.path()).open(), name, "");
  }
}

TEST(DistributedCheckpoint, AnyDamageIsAnErrorOrHarmless) {
  for (const auto& [name, damaged] :
       {std::pair{"safetensors", ".metadata"}, std::pair{kFastGen, ".metadata"},
        std::pair{kFastGen, "__1_0.distcp"}, std::pair{"safetensors", "__1_0.distcp"}}) {
    const TempFolder folder;
    copy_checkpoint(name, folder.path());
    EXPECT_EQ(reading_error(folder.path()), "no error");
    const std::string whole = read_file(folder / damaged);
    size_t errors = 0;
    uint32_t random = 12345;
    for (size_t i = 0; i < whole.size(); i += 1 + random % 29) {
      random = random * 1664525 + 1013904223;
      std::string bytes = whole;
      bytes[i] = static_cast<char>(static_cast<uint8_t>(bytes[i]) ^ (1 + (random >> 8) % 255));
      if (i % 16 == 0) bytes.resize(i);
      write_file(folder / damaged, bytes);
      const std::string error = reading_error(folder.path());
      EXPECT_THAT(error, ::testing::Not(HasSubstr("another class")));
      if (error != "no error") ++errors;
    }
    EXPECT_GT(errors, whole.size() / 100) << name << " " << damaged;
  }
}

}  // namespace
}  // namespace fakescore
