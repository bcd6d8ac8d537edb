#pragma once

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <torch/torch.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/fill/fill_tensors.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "support/counting_communicator.hpp"
#include "support/root_teacher.hpp"
#include "support/sum_of.hpp"
#include "support/temp_folder.hpp"
#include "support/tensor_checks.hpp"

// Jobs in which each rank holds parts of tensors.
namespace fakescore::testing {

inline at::Tensor part_of(const at::Tensor& whole, const Box& box) {
  at::Tensor part = whole;
  for (size_t i = 0; i < box.sizes.size(); ++i) {
    part = part.narrow(static_cast<int64_t>(i), box.offsets[i], box.sizes[i]);
  }
  return part;
}

inline at::Tensor part_of(const at::Tensor& whole, const Shard& shard) {
  return part_of(shard.flattened_from.empty() ? whole : whole.flatten(), shard.box);
}

/// What one rank holds of a tensor's dimension `dim`, as torch.chunk cuts it.
inline Box chunk(const std::vector<int64_t>& sizes, size_t dim, const Communicator& communicator) {
  Box box{std::vector<int64_t>(sizes.size(), 0), sizes};
  const int64_t step = (sizes[dim] + communicator.world_size() - 1) / communicator.world_size();
  box.offsets[dim] = std::min(step * communicator.rank(), sizes[dim]);
  box.sizes[dim] = std::min(step, sizes[dim] - box.offsets[dim]);
  return box;
}

inline int64_t count_of(const std::vector<int64_t>& sizes) {
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  return count;
}

/// Memory for a part, with room before and after it, as padding is.
inline NamedTensor shard(const std::string& name, const std::vector<int64_t>& sizes, const Box& box,
                         at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU,
                         const std::vector<int64_t>& flattened_from = {}) {
  const int64_t count = count_of(box.sizes);
  const at::Tensor padded = torch::full({count + 7}, -1, at::dtype(dtype).device(device));
  return {name, padded.narrow(0, 3, count).view(box.sizes), TensorKind::kParameter,
          Shard{sizes, box, flattened_from}};
}

/// A file that all ranks see.
class SharedFile {
 public:
  SharedFile(Communicator& communicator, const NamedTensors& tensors)
      : communicator_(communicator) {
    if (communicator.rank() == 0) folder_.emplace();
    path_ = communicator.broadcast_message(
        folder_ ? (*folder_ / "teacher.safetensors").string() : "", 0, "a test's folder");
    if (folder_) save_safetensors(path_, tensors);
    communicator.compare("", "a test's file");
  }
  ~SharedFile() { communicator_.compare("", "the end of a test's file"); }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  TeacherSource source() const { return TeacherSource::path(path_); }

 private:
  Communicator& communicator_;
  std::optional<TempFolder> folder_;
  std::filesystem::path path_;
};

inline void expect_parts(const FillTarget& target, const NamedTensors& whole) {
  for (size_t i = 0; i < whole.size(); ++i) {
    const NamedTensor& entry = target.tensors[i];
    const at::Tensor wanted =
        entry.shard ? part_of(whole[i].tensor, *entry.shard) : whole[i].tensor;
    const at::Tensor rows = torch::empty(wanted.sizes(), entry.tensor.scalar_type()).copy_(wanted);
    EXPECT_TRUE(bit_equal(entry.tensor.cpu(), rows)) << entry.name;
    if (!entry.shard) continue;
    // What lies around a part is not touched.
    const at::Tensor all = entry.tensor.as_strided({entry.tensor.numel() + 7}, {1}, 0).cpu();
    EXPECT_TRUE(all.narrow(0, 0, 3).eq(-1).all().item<bool>()) << entry.name;
    EXPECT_TRUE(all.narrow(0, entry.tensor.numel() + 3, 4).eq(-1).all().item<bool>()) << entry.name;
  }
}

/// A tensor, the boxes that ranks hold of it, and how it is stored.
struct ShardedTensor {
  std::vector<int64_t> sizes;
  std::vector<int64_t> flattened_from;  ///< empty if it was not
  std::vector<Box> boxes;               ///< by rank, as many as any world here has
  std::vector<Box> held;                ///< by rank: of a teacher in shards
  bool holds_rows = false;              ///< they are of the tensor before it was flattened
  at::ScalarType stored = at::kFloat;
  at::ScalarType dtype = at::kFloat;
};

enum class TeacherOfShards { kFile, kFileInTurns, kRootsFile, kInMemory, kInShards };

struct ShardJob {
  std::vector<ShardedTensor> tensors;
  TeacherOfShards teacher = TeacherOfShards::kFile;
};

constexpr int kMostRanks = 4;

inline Box draw_box(const std::vector<int64_t>& sizes) {
  Box box;
  for (const int64_t size : sizes) {
    const auto begin = *rc::gen::inRange<int64_t>(0, size + 1);
    box.offsets.push_back(begin);
    box.sizes.push_back(*rc::gen::inRange<int64_t>(0, size - begin + 1));
  }
  return box;
}

/// The rank's part of a tensor that is cut along a dimension, at any places: if they are to be
/// rows, along the first that has more than one element.
inline std::vector<Box> draw_parts(const std::vector<int64_t>& sizes, bool are_rows) {
  const Box all{std::vector<int64_t>(sizes.size(), 0), sizes};
  if (sizes.empty()) return std::vector<Box>(kMostRanks, all);
  size_t dim = 0;
  while (are_rows && dim + 1 < sizes.size() && sizes[dim] == 1) ++dim;
  if (!are_rows) dim = *rc::gen::inRange<size_t>(0, sizes.size());
  std::vector<int64_t> ends{0};
  for (int rank = 0; rank < kMostRanks - 1; ++rank) {
    ends.push_back(*rc::gen::inRange<int64_t>(0, sizes[dim] + 1));
  }
  std::sort(ends.begin(), ends.end());
  ends.push_back(sizes[dim]);
  std::vector<Box> parts;
  for (size_t rank = 0; rank < kMostRanks; ++rank) {
    Box part = all;
    part.offsets[dim] = ends[rank];
    part.sizes[dim] = ends[rank + 1] - ends[rank];
    parts.push_back(part);
  }
  return parts;
}

inline ShardedTensor draw_tensor() {
  ShardedTensor tensor;
  const auto dims = *rc::gen::inRange<size_t>(0, 4);
  for (size_t i = 0; i < dims; ++i) tensor.sizes.push_back(*rc::gen::inRange<int64_t>(1, 12));
  if (dims > 0 && *rc::gen::arbitrary<bool>()) {
    tensor.flattened_from = tensor.sizes;
    tensor.sizes = {count_of(tensor.sizes)};
  }
  const bool has_replicas = *rc::gen::arbitrary<bool>();
  for (int rank = 0; rank < kMostRanks; ++rank) {
    tensor.boxes.push_back(has_replicas && rank > 1 ? tensor.boxes[static_cast<size_t>(rank - 2)]
                                                    : draw_box(tensor.sizes));
  }
  tensor.holds_rows = !tensor.flattened_from.empty() && *rc::gen::arbitrary<bool>();
  tensor.held =
      draw_parts(tensor.holds_rows ? tensor.flattened_from : tensor.sizes, tensor.holds_rows);
  tensor.stored = *rc::gen::element(at::kFloat, at::kBFloat16, at::kDouble);
  tensor.dtype = *rc::gen::element(at::kFloat, at::kBFloat16, at::kDouble);
  return tensor;
}

inline ShardJob draw_shard_job() {
  ShardJob job;
  const auto count = *rc::gen::inRange<size_t>(1, 6);
  for (size_t i = 0; i < count; ++i) job.tensors.push_back(draw_tensor());
  job.teacher = *rc::gen::element(TeacherOfShards::kFile, TeacherOfShards::kFileInTurns,
                                  TeacherOfShards::kRootsFile, TeacherOfShards::kInMemory,
                                  TeacherOfShards::kInShards);
  return job;
}

/// Smaller worlds hold what those of the others would as well: the last rank has the rest.
inline Shard held_by(const ShardedTensor& tensor, const Communicator& communicator) {
  const auto rank = static_cast<size_t>(communicator.rank());
  const Shard whole = tensor.holds_rows ? Shard{tensor.flattened_from, {}}
                                        : Shard{tensor.sizes, {}, tensor.flattened_from};
  Box box = tensor.held[rank];
  if (communicator.rank() == communicator.world_size() - 1) {
    for (size_t i = 0; i < box.sizes.size(); ++i) {
      box.sizes[i] = whole.global_sizes[i] - box.offsets[i];
    }
  }
  return {whole.global_sizes, box, whole.flattened_from};
}

inline void run_shard_job(const ShardJob& job, Communicator& communicator) {
  NamedTensors teacher;
  NamedTensors parts;
  FillTarget target;
  for (size_t i = 0; i < job.tensors.size(); ++i) {
    const ShardedTensor& tensor = job.tensors[i];
    const std::string name = "tensor" + std::to_string(i);
    const bool is_flat = !tensor.flattened_from.empty();
    teacher.push_back({name, torch::arange(count_of(tensor.sizes), tensor.stored)
                                 .view(is_flat ? tensor.flattened_from : tensor.sizes)});
    const Shard held = held_by(tensor, communicator);
    parts.push_back(
        {name, part_of(teacher.back().tensor, held).contiguous(), TensorKind::kParameter, held});
    const Box& own = tensor.boxes[static_cast<size_t>(communicator.rank())];
    target.tensors.push_back(
        shard(name, tensor.sizes, own, tensor.dtype, communicator.device(), tensor.flattened_from));
  }
  FillOptions options;
  options.bucket_bytes = 4096;
  if (job.teacher == TeacherOfShards::kFileInTurns) options.read = TeacherRead::kInTurns;
  if (job.teacher == TeacherOfShards::kRootsFile) options.read = TeacherRead::kRoot;
  const SharedFile file(communicator, teacher);
  const auto source = [&] {
    if (job.teacher == TeacherOfShards::kInShards) return TeacherSource::state_dict(parts);
    if (job.teacher == TeacherOfShards::kInMemory) return only_on_root(communicator, teacher);
    return file.source();
  };
  fill_tensors(target, source(), communicator, options);
  expect_parts(target, teacher);
}

/// The report has what went over the bulk plane, without gaps of alignment and messages, which are
/// no more than `besides`.
inline void expect_reported(const FillReport& report, const BulkBytes& bytes, int rank,
                            int64_t besides) {
  const auto at = static_cast<size_t>(rank);
  const auto received = static_cast<int64_t>(report.received_bytes.at(at));
  EXPECT_LE(received, bytes.received);
  EXPECT_GE(received, bytes.received - besides);
  EXPECT_LE(report.sent_bytes.at(at), static_cast<uint64_t>(bytes.sent));
  EXPECT_GE(static_cast<int64_t>(report.sent_bytes.at(at)), bytes.sent - besides);
  EXPECT_EQ(sum_of(report.sent_bytes), sum_of(report.received_bytes));
  EXPECT_EQ(report.hosts, std::vector<int>(report.sent_bytes.size()));
  EXPECT_EQ(report.link_sent_bytes, std::vector<uint64_t>{0});
}

/// Ranks that keep the same halves, of rows and of columns in another dtype, from a file that all
/// see.
inline void expect_replicas_to_read_each_byte_once(Communicator& real) {
  const auto bytes = std::make_shared<BulkBytes>();
  const auto communicator = make_counting(real, bytes);
  const std::vector<int64_t> sizes{400, 700};
  const NamedTensors teacher{{"rows", torch::arange(400. * 700).view(sizes)},
                             {"columns", torch::arange(400. * 700).view(sizes)},
                             {"whole", torch::arange(100'000.)}};
  const SharedFile file(real, teacher);
  const int half = real.rank() % 2;
  FillTarget target;
  target.tensors = {
      shard("rows", sizes, {{200 * half, 0}, {200, 700}}, at::kFloat, real.device()),
      shard("columns", sizes, {{0, 350 * half}, {400, 350}}, at::kDouble, real.device()),
      {"whole", torch::empty({100'000}, at::device(at::kMeta))}};
  FillOptions options;
  options.read = TeacherRead::kInTurns;
  options.bucket_bytes = 65536;
  const FillReport report = fill_tensors(target, file.source(), *communicator, options);
  expect_parts(target, teacher);
  if (real.world_size() == 1) return;
  EXPECT_EQ(report.read, TeacherRead::kInTurns);
  // As it is stored: columns are twice as wide in the module.
  const uint64_t rows = 400 * 700 * 4;
  const uint64_t whole = 400'000;
  EXPECT_EQ(sum_of(report.read_bytes), rows + 2 * rows + whole);
  // Each rank gets of its parts what it has not read; of the whole tensor one reads all.
  const auto own = static_cast<int64_t>(3 * rows / 2);
  const auto read = static_cast<int64_t>(report.read_bytes[static_cast<size_t>(real.rank())]);
  constexpr int64_t kMessages = 8192;
  EXPECT_GE(bytes->received, own - read);
  EXPECT_LE(bytes->received, own - read + static_cast<int64_t>(whole) + kMessages);
}

/// Of a large tensor that all ranks keep, each reads shares, and passes on those of others.
inline void expect_shares_of_large_parts(Communicator& communicator) {
  const std::vector<int64_t> sizes{1000, 700};
  const NamedTensors teacher{{"large", torch::arange(1000. * 700).view(sizes)},
                             {"scale", torch::full({}, 3.)}};
  const SharedFile file(communicator, teacher);
  FillTarget target;
  target.tensors = {shard("large", sizes, {{0, 0}, sizes}, at::kFloat, communicator.device()),
                    shard("scale", {}, {{}, {}}, at::kFloat, communicator.device())};
  FillOptions options;
  options.read = TeacherRead::kInTurns;
  options.bucket_bytes = 4096;
  const FillReport report = fill_tensors(target, file.source(), communicator, options);
  expect_parts(target, teacher);
  if (communicator.world_size() == 1) return;
  for (const uint64_t bytes : report.read_bytes) EXPECT_GT(bytes, 0U);
  EXPECT_EQ(sum_of(report.read_bytes), 1000U * 700 * 4 + 4);
}

}  // namespace fakescore::testing
