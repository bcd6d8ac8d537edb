#include "core/teacher/dcp/dcp_metadata.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/teacher/dcp/key_choice.hpp"
#include "core/teacher/dcp/shard_boxes.hpp"
#include "fakescore/core/error.hpp"
#include "support/error_of.hpp"

namespace fakescore::detail {
namespace {

using fakescore::testing::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Sizes = std::vector<int64_t>;
using Fields = std::vector<std::pair<std::string, PickleValue>>;

constexpr const char* kModule = "torch.distributed.checkpoint.metadata.";

PickleValue number(int64_t value) { return {value}; }
PickleValue text(std::string value) { return {std::move(value)}; }

PickleValue tuple(PickleItems items) {
  return {PickleTuple{std::make_shared<PickleItems>(std::move(items))}};
}

PickleValue list(PickleItems items) {
  return {PickleList{std::make_shared<PickleItems>(std::move(items))}};
}

PickleValue dict(PicklePairs pairs) {
  return {PickleDict{std::make_shared<PicklePairs>(std::move(pairs))}};
}

PickleValue object(const std::string& callable, PickleItems arguments, PickleValue state = {}) {
  PickleObject result;
  result.callable = callable;
  result.arguments = std::move(arguments);
  result.state = std::move(state);
  return {PickleReduced{std::make_shared<PickleObject>(std::move(result))}};
}

PickleValue dataclass(const std::string& name, const Fields& fields) {
  PicklePairs pairs;
  for (const auto& [field, value] : fields) pairs.emplace_back(text(field), value);
  return object(name, {}, dict(std::move(pairs)));
}

PickleValue size(const Sizes& sizes) {
  PickleItems items;
  for (const int64_t value : sizes) items.push_back(number(value));
  return object("torch.Size", {tuple(std::move(items))});
}

PickleValue chunk(const Box& box) {
  return dataclass(std::string(kModule) + "ChunkStorageMetadata",
                   {{"offsets", size(box.offsets)}, {"sizes", size(box.sizes)}});
}

PickleValue index(const std::string& name, const Sizes& offsets) {
  return dataclass(std::string(kModule) + "MetadataIndex",
                   {{"fqn", text(name)}, {"offset", size(offsets)}, {"index", number(0)}});
}

PickleValue place(const Fields& fields) {
  return dataclass("torch.distributed.checkpoint.filesystem._StorageInfo", fields);
}

/// A metadata file of one tensor, "w" of float32, as DCP writes it; tests spoil a part of it.
struct Parts {
  Sizes sizes{4, 6};
  std::vector<Box> boxes{{{0, 0}, {4, 3}}, {{0, 3}, {4, 3}}};
  PickleValue dtype{PickleGlobal{"torch.float32"}};
  Fields place_fields{
      {"relative_path", text("__0_0.distcp")}, {"offset", number(0)}, {"length", number(1000)}};
  size_t tensors = 1;
  size_t budget = 1000;
};

PickleValue metadata(const Parts& parts) {
  PickleItems chunks;
  PicklePairs places;
  for (const Box& box : parts.boxes) {
    chunks.push_back(chunk(box));
    places.emplace_back(index("w", box.offsets), place(parts.place_fields));
  }
  const PickleValue properties =
      object(std::string(kModule) + "TensorProperties", {}, tuple({parts.dtype}));
  const PickleValue tensor = dataclass(
      std::string(kModule) + "TensorStorageMetadata",
      {{"properties", properties}, {"size", size(parts.sizes)}, {"chunks", list(chunks)}});
  PicklePairs tensors;
  for (size_t i = 0; i < parts.tensors; ++i) tensors.emplace_back(text("w"), tensor);
  return dataclass(
      std::string(kModule) + "Metadata",
      {{"state_dict_metadata", dict(std::move(tensors))}, {"storage_data", dict(places)}});
}

std::vector<ShardedTensor> read(const Parts& parts) {
  return read_dcp_metadata(metadata(parts), "", parts.budget, "folder/.metadata");
}

std::string refusal(const Parts& parts) {
  return error_of<TeacherError>([&] { read(parts); });
}

TEST(DcpMetadata, SaysTensorsChunksAndPlaces) {
  const auto tensors = read({});
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].dtype, at::kFloat);
  EXPECT_EQ(tensors[0].sizes, Sizes({4, 6}));
  ASSERT_EQ(tensors[0].chunks.size(), 2U);
  EXPECT_EQ(tensors[0].chunks[1].box, (Box{{0, 3}, {4, 3}}));
  EXPECT_EQ(tensors[0].chunks[1].place.file, "folder/__0_0.distcp");
  EXPECT_EQ(tensors[0].chunks[1].place.length, 1000U);
}

TEST(DcpMetadata, ReplicatedAndEmptyChunksAreLeftOut) {
  Parts parts;
  parts.boxes.push_back(parts.boxes[0]);
  parts.boxes.push_back({{4, 0}, {0, 6}});
  EXPECT_EQ(read(parts)[0].chunks.size(), 2U);
}

struct Spoiled {
  const char* name;
  void (*spoil)(Parts&);
  const char* message;
};

class DcpMetadataRefusal : public ::testing::TestWithParam<Spoiled> {};

TEST_P(DcpMetadataRefusal, NamesTheFileTheTensorAndTheReason) {
  Parts parts;
  GetParam().spoil(parts);
  EXPECT_THAT(refusal(parts),
              AllOf(HasSubstr("folder/.metadata, tensor w"), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Each, DcpMetadataRefusal,
    ::testing::Values(
        Spoiled{"Hole", [](Parts& parts) { parts.boxes.pop_back(); }, "leave elements out"},
        Spoiled{"NoChunk", [](Parts& parts) { parts.boxes.clear(); }, "leave elements out"},
        Spoiled{"Overlap",
                [](Parts& parts) {
                  parts.boxes[1] = {{0, 2}, {4, 4}};
                },
                "overlap"},
        Spoiled{"HoleAndOverlap",
                [](Parts& parts) {
                  parts.boxes[1] = {{0, 2}, {4, 3}};
                },
                "overlap"},
        Spoiled{"OutOfBounds",
                [](Parts& parts) {
                  parts.boxes[1] = {{0, 3}, {4, 4}};
                },
                "lies outside of it"},
        Spoiled{"EndOverflows",
                [](Parts& parts) {
                  parts.boxes[1] = {{0, INT64_MAX}, {4, INT64_MAX}};
                },
                "lies outside of it"},
        Spoiled{"AnotherRank",
                [](Parts& parts) {
                  parts.boxes[1] = {{3}, {1}};
                },
                "lies outside of it"},
        Spoiled{"Negative",
                [](Parts& parts) {
                  parts.boxes[1] = {{0, -3}, {4, 3}};
                },
                "a size is not a count"},
        Spoiled{"ShapeOverflows",
                [](Parts& parts) {
                  parts.sizes = {INT64_MAX, 3};
                },
                "shape overflows"},
        Spoiled{"StridesOverflow",
                [](Parts& parts) {
                  parts.sizes = {0, INT64_MAX, 3};
                  parts.boxes = {};
                },
                "shape overflows"},
        Spoiled{"TooManyDimensions", [](Parts& parts) { parts.sizes = Sizes(65, 1); },
                "at most 64 numbers"},
        Spoiled{"NoDtype", [](Parts& parts) { parts.dtype = number(3); }, "has no dtype"},
        Spoiled{"NotADtype", [](Parts& parts) { parts.dtype = {PickleGlobal{"torch.Size"}}; },
                "has no dtype"},
        Spoiled{"Quantized", [](Parts& parts) { parts.dtype = {PickleGlobal{"torch.qint8"}}; },
                "has the dtype torch.qint8"},
        Spoiled{"Bits", [](Parts& parts) { parts.dtype = {PickleGlobal{"torch.bits8"}}; },
                "has the dtype torch.bits8"},
        Spoiled{"HalfBytes", [](Parts& parts) { parts.dtype = {PickleGlobal{"torch.uint4"}}; },
                "has the dtype torch.uint4"},
        Spoiled{"ShorterThanItsElements",
                [](Parts& parts) { parts.place_fields[2].second = number(47); },
                "a chunk of 48 bytes in an item of 47"},
        Spoiled{"NegativeOffset", [](Parts& parts) { parts.place_fields[1].second = number(-1); },
                "offset of its place is not a count"},
        Spoiled{"NoFile", [](Parts& parts) { parts.place_fields[0].second = {}; },
                "not a file name"},
        Spoiled{"NoLength", [](Parts& parts) { parts.place_fields.pop_back(); },
                "has no field length"},
        Spoiled{"Compressed",
                [](Parts& parts) {
                  parts.place_fields.emplace_back("transform_descriptors",
                                                  list({text("stream.zstd/1")}));
                },
                "stream.zstd/1"},
        Spoiled{"Twice", [](Parts& parts) { parts.tensors = 2; }, "is in the file twice"},
        Spoiled{"OneChunkManyTimes",
                [](Parts& parts) {
                  parts.boxes.assign(200, parts.boxes[0]);
                  parts.budget = 100;
                },
                "more chunks than its bytes can hold"}),
    [](const auto& spoiled) { return spoiled.param.name; });

TEST(DcpMetadata, WhatHasAnotherFormIsRefused) {
  const auto refused = [](const PickleValue& value) {
    return error_of<TeacherError>([&] { read_dcp_metadata(value, "", 1000, "folder/.metadata"); });
  };
  EXPECT_THAT(refused({}), HasSubstr("where a torch.distributed.checkpoint.metadata.Metadata"));
  const std::string name = std::string(kModule) + "Metadata";
  EXPECT_THAT(refused(dataclass(name, {})), HasSubstr("has no field storage_data"));
  EXPECT_THAT(refused(dataclass(name, {{"storage_data", number(1)}})), HasSubstr("is not a dict"));
  EXPECT_THAT(refused(dataclass(name, {{"storage_data", dict({})},
                                       {"state_dict_metadata", dict({{number(1), {}}})}})),
              HasSubstr("something else than a text"));
  EXPECT_THAT(refused(dataclass(name, {{"storage_data", dict({})},
                                       {"state_dict_metadata", dict({{text("w\xff"), {}}})}})),
              HasSubstr("tensor w?: its name is not UTF-8"));
}

/// 64 dimensions in each of its chunks, which the pickle holds once.
TEST(DcpMetadata, MemoryIsInProportionToThePickle) {
  Parts parts;
  parts.sizes = Sizes(64, 1);
  parts.boxes.assign(1000, {Sizes(64, 0), Sizes(64, 1)});
  parts.budget = 50'000;
  EXPECT_THAT(refusal(parts), HasSubstr("more chunks than its bytes can hold"));
  parts.budget = 500'000;
  EXPECT_EQ(read(parts)[0].chunks.size(), 1U);
}

TEST(DcpMetadata, AllowsWhatDcpWritesAndNothingElse) {
  for (const char* global :
       {"torch.distributed.checkpoint.metadata.Metadata",
        "torch.distributed.checkpoint.filesystem._StorageInfo", "torch.Size", "torch.bfloat16",
        "torch.serialization._get_layout", "pathlib.PosixPath", "pathlib._local.PosixPath"}) {
    EXPECT_TRUE(allowed_in_dcp_metadata(global)) << global;
  }
  for (const char* global : {"os.system", "builtins.eval", "torch.load", "torch.float32.evil",
                             "torch.distributed.checkpoint.metadata.os", ""}) {
    EXPECT_FALSE(allowed_in_dcp_metadata(global)) << global;
  }
}

/// Cuts a box at random places, again and again.
void cut(const Box& box, int depth, std::mt19937& random, std::vector<Box>& boxes) {
  const size_t dim = random() % box.sizes.size();
  if (depth == 0 || box.sizes[dim] < 2) return boxes.push_back(box);
  const auto first = 1 + static_cast<int64_t>(random() % (box.sizes[dim] - 1));
  Box lower = box;
  Box upper = box;
  lower.sizes[dim] = first;
  upper.offsets[dim] += first;
  upper.sizes[dim] -= first;
  cut(lower, depth - 1, random, boxes);
  cut(upper, depth - 1, random, boxes);
}

TEST(ShardBoxes, FindAnyBoxThatIsMissingMovedOrTooLarge) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    const Sizes sizes{9, 8, 7};
    std::vector<Box> boxes;
    cut({{0, 0, 0}, sizes}, 4, random, boxes);
    std::shuffle(boxes.begin(), boxes.end(), random);
    EXPECT_THAT(describe_cover_fault(sizes, boxes), IsEmpty());
    ASSERT_GT(boxes.size(), 1U);
    const Box last = boxes.back();
    boxes.pop_back();
    EXPECT_THAT(describe_cover_fault(sizes, boxes), HasSubstr("leave elements out"));
    for (size_t dim = 0; dim < sizes.size(); ++dim) {
      Box moved = last;
      moved.offsets[dim] += moved.offsets[dim] > 0 ? -1 : 1;
      boxes.push_back(moved);
      if (lies_within(moved, sizes)) {
        EXPECT_THAT(describe_cover_fault(sizes, boxes), ::testing::Not(IsEmpty()));
      }
      boxes.back() = last;
      boxes.back().sizes[dim] += 1;
      if (lies_within(boxes.back(), sizes)) {
        EXPECT_THAT(describe_cover_fault(sizes, boxes), HasSubstr("overlap"));
      }
      boxes.pop_back();
    }
  }
}

TEST(ShardBoxes, ManyShardsTakeLittleTime) {
  constexpr int64_t kShards = 100'000;  // in pairs, they would be ten thousand million
  std::vector<Box> boxes;
  for (int64_t row = 0; row < kShards; ++row) boxes.push_back({{row, 0}, {1, 5}});
  EXPECT_THAT(describe_cover_fault({kShards, 5}, boxes), IsEmpty());
}

TEST(ShardBoxes, MoreDimensionsThanAnyMeshIsRefused) {
  const Sizes sizes(9, 2);
  EXPECT_THAT(describe_cover_fault(sizes, {{Sizes(9, 0), Sizes(9, 1)}}),
              HasSubstr("along 9 dimensions"));
}

TEST(KeyChoice, ShowsAFewPartsOfManyNames) {
  std::vector<std::string> names;
  for (int i = 100; i < 200; ++i) names.push_back("part" + std::to_string(i) + ".weight");
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string error = error_of<TeacherError>([&] { check_key("part", views, "folder"); });
  EXPECT_THAT(error, AllOf(HasSubstr("part100, part101"), HasSubstr("part119, ...")));
  EXPECT_THAT(error, ::testing::Not(HasSubstr("part120")));
  EXPECT_NO_THROW(check_key("part150", views, "folder"));
}

}  // namespace
}  // namespace fakescore::detail
