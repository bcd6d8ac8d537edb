#include "teacher/formats/dcp/dcp_metadata.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "fakescore/error.hpp"
#include "support/error_of.hpp"
#include "teacher/formats/dcp/key_choice.hpp"
#include "teacher/formats/dcp/shard_boxes.hpp"
#include "teacher/formats/pickle/pickle_arena.hpp"

namespace fakescore::detail {
namespace {

using fakescore::testing::error_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Sizes = std::vector<int64_t>;
using Items = std::vector<PickleValue>;
using Pairs = std::vector<std::pair<PickleValue, PickleValue>>;
using Fields = std::vector<std::pair<std::string, PickleValue>>;

constexpr const char* kModule = "torch.distributed.checkpoint.metadata.";

/// Keeps what the tests make of values, as a pickle's arena does.
PickleArena& arena() {
  static ReadBudget budget("made by a test", size_t{1} << 30);
  static PickleArena arena(budget);
  return arena;
}

std::string_view kept(const std::string& value) {
  char* copy = arena().make_text(value.size());
  std::copy(value.begin(), value.end(), copy);
  return {copy, value.size()};
}

PickleItems array(const Items& items) {
  PickleItems array;
  for (const PickleValue& item : items) arena().append(array, item);
  return array;
}

PickleSequence& sequence(const Items& items) {
  auto& node = arena().make_node<PickleSequence>();
  node.items = array(items);
  return node;
}

PickleValue number(int64_t value) { return PickleValue(value); }
PickleValue text(const std::string& value) { return PickleValue::text(kept(value)); }
PickleValue tuple(const Items& items) { return PickleValue::tuple(sequence(items)); }
PickleValue list(const Items& items) { return PickleValue::list(sequence(items)); }

PickleValue dict(const Pairs& pairs) {
  auto& node = arena().make_node<PickleDict>();
  for (const auto& [key, value] : pairs) arena().append(node.pairs, PicklePair{key, value});
  return PickleValue(node);
}

PickleValue global(const std::string& name) {
  auto& node = arena().make<PickleGlobal>();
  node.name = kept(name);
  return PickleValue(node);
}

PickleValue object(const std::string& callable, const Items& arguments, PickleValue state = {}) {
  auto& node = arena().make_node<PickleObject>();
  node.callable = kept(callable);
  node.arguments = array(arguments);
  node.state = state;
  return PickleValue(node);
}

PickleValue dataclass(const std::string& name, const Fields& fields) {
  Pairs pairs;
  for (const auto& [field, value] : fields) pairs.emplace_back(text(field), value);
  return object(name, {}, dict(pairs));
}

PickleValue size(const Sizes& sizes) {
  Items items;
  for (const int64_t value : sizes) items.push_back(number(value));
  return object("torch.Size", {tuple(items)});
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
  PickleValue dtype = global("torch.float32");
  Fields place_fields{
      {"relative_path", text("__0_0.distcp")}, {"offset", number(0)}, {"length", number(1000)}};
  size_t tensors = 1;
  bool repeats_places = false;
  size_t pickle_bytes = 1000;
};

PickleValue metadata(const Parts& parts) {
  Items chunks;
  Pairs places;
  std::set<Sizes> placed;
  for (const Box& box : parts.boxes) {
    chunks.push_back(chunk(box));
    if (!placed.insert(box.offsets).second && !parts.repeats_places) continue;
    places.emplace_back(index("w", box.offsets), place(parts.place_fields));
  }
  const PickleValue properties =
      object(std::string(kModule) + "TensorProperties", {}, tuple({parts.dtype}));
  const PickleValue tensor = dataclass(
      std::string(kModule) + "TensorStorageMetadata",
      {{"properties", properties}, {"size", size(parts.sizes)}, {"chunks", list(chunks)}});
  Pairs tensors;
  for (size_t i = 0; i < parts.tensors; ++i) tensors.emplace_back(text("w"), tensor);
  return dataclass(std::string(kModule) + "Metadata",
                   {{"state_dict_metadata", dict(tensors)}, {"storage_data", dict(places)}});
}

ShardedCheckpoint read(const PickleValue& value, size_t pickle_bytes) {
  ReadBudget budget("folder/.metadata", pickle_bytes);
  return read_dcp_metadata(value, "", budget);
}

ShardedCheckpoint read(const Parts& parts) { return read(metadata(parts), parts.pickle_bytes); }

std::string refusal(const Parts& parts) {
  return error_of<TeacherError>([&] { read(parts); });
}

TEST(DcpMetadata, SaysTensorsChunksAndPlaces) {
  const ShardedCheckpoint checkpoint = read({});
  EXPECT_THAT(checkpoint.files, ElementsAre("folder/__0_0.distcp"));
  const auto& tensors = checkpoint.tensors;
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].dtype, at::kFloat);
  EXPECT_EQ(tensors[0].sizes, Sizes({4, 6}));
  ASSERT_EQ(tensors[0].chunks.size(), 2U);
  EXPECT_EQ(tensors[0].chunks[1].box, (Box{{0, 3}, {4, 3}}));
  EXPECT_EQ(tensors[0].chunks[1].place.file, 0U);
  EXPECT_EQ(tensors[0].chunks[1].place.length, 1000U);
}

TEST(DcpMetadata, ReplicatedAndEmptyChunksAreLeftOut) {
  Parts parts;
  parts.boxes.push_back(parts.boxes[0]);
  parts.boxes.push_back({{4, 0}, {0, 6}});
  EXPECT_EQ(read(parts).tensors[0].chunks.size(), 2U);
}

struct Spoiled {
  const char* name;
  void (*spoil)(Parts&);
  std::string message;
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
        Spoiled{"NotADtype", [](Parts& parts) { parts.dtype = global("torch.Size"); },
                "has no dtype"},
        Spoiled{"Quantized", [](Parts& parts) { parts.dtype = global("torch.qint8"); },
                "has the dtype torch.qint8"},
        Spoiled{"Bits", [](Parts& parts) { parts.dtype = global("torch.bits8"); },
                "has the dtype torch.bits8"},
        Spoiled{"HalfBytes", [](Parts& parts) { parts.dtype = global("torch.uint4"); },
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
        Spoiled{"TwoPlacesForOneChunk",
                [](Parts& parts) {
                  parts.boxes.push_back(parts.boxes[0]);
                  parts.repeats_places = true;
                },
                "has two places for one chunk"},
        Spoiled{"NameLongerThanAnyFiles",
                [](Parts& parts) { parts.place_fields[0].second = text(std::string(256, 'a')); },
                "lies in " + std::string(200, 'a') + ", which is not a file name"},
        Spoiled{"NameWithNul",
                [](Parts& parts) {
                  parts.place_fields[0].second = text(std::string("__0_0.distcp\0a", 14));
                },
                "lies in __0_0.distcp\\x00a, which is not a file name"}),
    [](const auto& spoiled) { return spoiled.param.name; });

TEST(DcpMetadata, WhatHasAnotherFormIsRefused) {
  const auto refused = [](const PickleValue& value) {
    return error_of<TeacherError>([&] { read(value, 1000); });
  };
  EXPECT_THAT(refused({}), HasSubstr("where a torch.distributed.checkpoint.metadata.Metadata"));
  const std::string name = std::string(kModule) + "Metadata";
  EXPECT_THAT(refused(dataclass(name, {})), HasSubstr("has no field storage_data"));
  EXPECT_THAT(refused(dataclass(name, {{"storage_data", number(1)}})), HasSubstr("is not a dict"));
  EXPECT_THAT(
      refused(dataclass(name, {{"storage_data", dict({})},
                               {"state_dict_metadata", dict({{number(1), PickleValue()}})}})),
      HasSubstr("a tensor name that is not a text"));
  EXPECT_THAT(
      refused(dataclass(name, {{"storage_data", dict({})},
                               {"state_dict_metadata", dict({{text("w\xff"), PickleValue()}})}})),
      HasSubstr("tensor w\\xff: its name is not UTF-8"));
}

/// 64 dimensions in each of its chunks, which the pickle holds once.
TEST(DcpMetadata, MemoryIsInProportionToThePickle) {
  Parts parts;
  parts.sizes = Sizes(64, 1);
  parts.boxes.assign(1000, {Sizes(64, 0), Sizes(64, 1)});
  parts.pickle_bytes = 50'000;
  EXPECT_THAT(refusal(parts), HasSubstr("more chunks than its bytes can hold"));
  parts.pickle_bytes = 500'000;
  EXPECT_EQ(read(parts).tensors[0].chunks.size(), 1U);
}

/// The search of a field is bounded: an object may be named for every chunk.
TEST(DcpMetadata, WorkIsInProportionToThePickle) {
  Parts parts;
  parts.sizes = {4096};
  parts.boxes.clear();
  for (int64_t row = 0; row < 4096; ++row) parts.boxes.push_back({{row}, {1}});
  for (int i = 0; i < 60; ++i) parts.place_fields.emplace_back("f" + std::to_string(i), number(0));
  parts.pickle_bytes = 1'000'000;
  EXPECT_EQ(read(parts).tensors[0].chunks.size(), 4096U);
  for (int i = 60; i < 70; ++i) parts.place_fields.emplace_back("f" + std::to_string(i), number(0));
  EXPECT_THAT(refusal(parts), HasSubstr("has no field relative_path"));
}

TEST(DcpMetadata, FilesAreNumberedInTheOrderOfTheirNames) {
  const auto stored = [](const char* file) {
    return place({{"relative_path", text(file)}, {"offset", number(0)}, {"length", number(8)}});
  };
  const PickleValue properties =
      object(std::string(kModule) + "TensorProperties", {}, tuple({global("torch.float32")}));
  const PickleValue tensor = dataclass(std::string(kModule) + "TensorStorageMetadata",
                                       {{"properties", properties},
                                        {"size", size({2})},
                                        {"chunks", list({chunk({{0}, {1}}), chunk({{1}, {1}})})}});
  const ShardedCheckpoint checkpoint =
      read(dataclass(std::string(kModule) + "Metadata",
                     {{"state_dict_metadata", dict({{text("w"), tensor}})},
                      {"storage_data", dict({{index("w", {0}), stored("b.distcp")},
                                             {index("w", {1}), stored("a.distcp")}})}}),
           1000);
  EXPECT_THAT(checkpoint.files, ElementsAre("folder/a.distcp", "folder/b.distcp"));
  EXPECT_EQ(checkpoint.tensors[0].chunks[0].place.file, 1U);
  EXPECT_EQ(checkpoint.tensors[0].chunks[1].place.file, 0U);
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
  const auto first = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(box.sizes[dim] - 1));
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
