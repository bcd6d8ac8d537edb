// What lies in the place of a checkpoint is told by name, with what to do.

#include <caffe2/serialize/inline_container.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>
#include <sstream>

#include "fakescore/error.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/error_of.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TempFolder;
namespace fs = std::filesystem;

const fs::path kForeignData = FAKESCORE_TEST_DATA;

const std::string kPointer =
    "version https://git-lfs.github.com/spec/v1\noid "
    "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32"
    "b1258daaa5e2ca24d17e2393\nsize 9134345216\n";

void write_foreign(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string bytes_of(const fs::path& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

std::string foreign_error(const fs::path& path) {
  return error_of<TeacherError>([&] { TeacherSource::path(path).open(); });
}

std::string tar_of(const std::string& first) {
  std::string tar(10240, '\0');
  tar.replace(0, first.size(), first);
  tar.replace(257, 6, "ustar ");
  return tar;
}

struct Found {
  const char* name;
  std::string bytes;
  std::string what;
  std::string remedy;
};

class ForeignFile : public ::testing::TestWithParam<Found> {};

/// Under every name that it could have.
TEST_P(ForeignFile, IsNamedWithWhatToDo) {
  const TempFolder folder;
  for (const char* name : {"model.safetensors", "pytorch_model.bin", "net.pt", "net"}) {
    write_foreign(folder / name, GetParam().bytes);
    EXPECT_THAT(foreign_error(folder / name),
                AllOf(HasSubstr((folder / name).string()), HasSubstr(GetParam().what),
                      HasSubstr(GetParam().remedy)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, ForeignFile,
    ::testing::Values(
        Found{"Empty", "", "is empty", "fetch the file again"},
        Found{"Zeros", std::string(100'000, '\0'), "begins with zeros", "fetch the file again"},
        Found{"LfsPointer", kPointer,
              "is a Git LFS pointer, not the file that it stands for "
              "(9134345216 bytes)",
              "git lfs pull"},
        Found{"AnnexPointer", "/annex/objects/SHA256E-s9--4d.safetensors\n",
              "is a git-annex pointer", "git annex get"},
        Found{"HtmlPage", "\n <!DOCTYPE html>\n<html><head><title>Sign in</title>",
              "is an HTML page", "/resolve/"},
        Found{"HtmlWithoutType", "<HTML><body>404</body></HTML>", "is an HTML page", "/resolve/"},
        Found{"Xml", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
              "<Code>AccessDenied", "download the file itself"},
        Found{"JsonError", R"({"error":"Repository not found"})",
              R"(is text, neither a safetensors file nor one of torch.save: "{"error":"Repository)",
              "a server may have sent a message"},
        Found{"Gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"s, "is compressed with gzip",
              "tar -xzf"},
        Found{"Xz",
              "\xfd"
              "7zXZ\x00\x00\x04"s,
              "is compressed with xz", "unpack it"},
        Found{"Zstd", "\x28\xb5\x2f\xfd\x04\x00"s, "is compressed with zstd", "unpack it"},
        Found{"Bzip2", "BZh91AY&SY", "is compressed with bzip2", "unpack it"},
        Found{"SevenZip", "7z\xbc\xaf\x27\x1c\x00\x04"s, "is a 7z archive", "unpack it"},
        Found{"Tarball", tar_of("wan/model.safetensors"),
              "is a tar archive, which begins with \"wan/model.safetensors\"", "tar -xf"},
        Found{"TarOfTorch", tar_of("sys_info"), "as torch.save wrote them before 0.1.10",
              "torch.save(torch.load(path"},
        Found{"Gguf", "GGUF\x03\x00\x00\x00"s, "is a GGUF file of llama.cpp", "or convert it"},
        Found{"Hdf5", "\x89HDF\r\n\x1a\n\x00\x00"s, "is an HDF5 file", "or convert it"},
        Found{"Npy", "\x93NUMPY\x01\x00"s, "is one array of NumPy", "torch.save({name: tensor}"},
        Found{"Onnx",
              "\x08\x07\x12\x07pytorch\x1a\x05"
              "2.1.0"s,
              "is an ONNX model, made by \"pytorch\"", "or convert it"},
        Found{"Pickle", "\x80\x04}\x94."s, "is a pickle, but not one that torch.save wrote",
              "torch.save(state_dict"},
        Found{"EmptyZip", "PK\x05\x06"s + std::string(18, '\0'), "is an empty zip archive",
              "fetch the file again"}),
    [](const auto& test) { return test.param.name; });

TEST(ForeignFiles, ALegacyPickleIsNamedUnderAnyName) {
  const TempFolder folder;
  fs::copy(kForeignData / "torch" / "legacy.pt", folder / "model.safetensors");
  EXPECT_THAT(foreign_error(folder.path()), HasSubstr("before 1.6"));
}

TEST(ForeignFiles, AZipInAZipSaysWhatItHolds) {
  const TempFolder folder;
  const std::string inner = bytes_of(kForeignData / "torch" / "parameters.pt");
  caffe2::serialize::PyTorchStreamWriter writer((folder / "outer.zip").string());
  writer.writeRecord("model.pt", inner.data(), inner.size());
  writer.writeEndOfFile();
  fs::rename(folder / "outer.zip", folder / "outer.pt");
  EXPECT_THAT(foreign_error(folder / "outer.pt"),
              AllOf(HasSubstr("is a zip archive, but not one that torch.save wrote: it holds "),
                    HasSubstr("outer/model.pt"), HasSubstr("unpack it (unzip)")));
}

TEST(ForeignFiles, AFileOfHeadersAloneSaysSo) {
  const TempFolder folder;
  const auto whole = folder / "whole.safetensors";
  save_safetensors(whole, {{"a", torch::ones({4, 4})}, {"b", torch::ones(3)}});
  const std::string bytes = bytes_of(whole);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  write_foreign(folder / "headers.safetensors", bytes.substr(0, 8 + header));
  EXPECT_THAT(foreign_error(folder / "headers.safetensors"),
              AllOf(HasSubstr("the file ends with its header"), HasSubstr("are missing"),
                    HasSubstr("fetch all of the file")));
  write_foreign(folder / "cut.safetensors", bytes.substr(0, bytes.size() - 1));
  EXPECT_THAT(foreign_error(folder / "cut.safetensors"), HasSubstr("truncated"));
  write_foreign(folder / "half.safetensors", bytes.substr(0, 8 + header / 2));
  EXPECT_THAT(foreign_error(folder / "half.safetensors"), HasSubstr("does not fit"));
}

TEST(ForeignFiles, AHeaderOfTensorsWithoutElementsIsWhole) {
  const TempFolder folder;
  save_safetensors(folder / "empty.safetensors", {{"a", torch::ones({0, 4})}});
  EXPECT_EQ(foreign_error(folder / "empty.safetensors"), "no error");
}

TEST(ForeignFiles, APointerInThePlaceOfAnyPartIsNamed) {
  const TempFolder folder;
  const std::string text = "is a Git LFS pointer";
  write_foreign(folder / "model.safetensors.index.json", kPointer);
  EXPECT_THAT(foreign_error(folder.path()), AllOf(HasSubstr("index.json"), HasSubstr(text)));
  const auto shards = folder / "shards";
  fs::copy(kForeignData / "models" / "wan_sharded", shards);
  write_foreign(shards / "diffusion_pytorch_model-00002-of-00003.safetensors", kPointer);
  EXPECT_THAT(foreign_error(shards), AllOf(HasSubstr("00002-of-00003"), HasSubstr(text)));
  const auto distributed = folder / "dcp";
  fs::copy(kForeignData / "dcp" / "nested", distributed);
  write_foreign(distributed / "__0_0.distcp", kPointer);
  EXPECT_THAT(foreign_error(distributed), AllOf(HasSubstr("__0_0.distcp"), HasSubstr(text)));
  write_foreign(distributed / ".metadata", kPointer);
  EXPECT_THAT(foreign_error(distributed), AllOf(HasSubstr(".metadata"), HasSubstr(text)));
}

TEST(ForeignFiles, AConfigurationIsNoIndex) {
  EXPECT_THAT(foreign_error(kForeignData / "models" / "wan" / "config.json"),
              AllOf(HasSubstr("no weight_map"), HasSubstr("the folder that holds it")));
}

TEST(ForeignFiles, ATeacherWithoutTensorsIsAnError) {
  const TempFolder folder;
  save_safetensors(folder / "model.safetensors", {});
  EXPECT_THAT(foreign_error(folder.path()),
              AllOf(HasSubstr("model.safetensors: holds no tensor"), HasSubstr("give the file")));
  save_safetensors(folder / "a.safetensors", {{"a", torch::ones(1)}});
  write_foreign(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"a.safetensors"}})");
  EXPECT_EQ(foreign_error(folder / "model.safetensors.index.json"), "no error");
}

}  // namespace
}  // namespace fakescore
