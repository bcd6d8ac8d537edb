#include "teacher/formats/dcp/sharded_teacher.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "teacher/formats/dcp/chunk_files.hpp"
#include "teacher/formats/dcp/shard_boxes.hpp"

namespace fakescore::detail {
namespace {

/// Contiguous memory of at least one dimension as bytes: so that it need not be aligned, and
/// every dtype can be copied.
at::Tensor as_bytes(const void* data, std::vector<int64_t> sizes, int64_t element_bytes) {
  sizes.back() *= element_bytes;
  return at::from_blob(const_cast<void*>(data), sizes, at::dtype(at::kByte));
}

void copy_into_box(at::Tensor& whole, const Box& box, const void* values) {
  const auto element_bytes = static_cast<int64_t>(whole.element_size());
  at::Tensor part = as_bytes(whole.mutable_data_ptr(), whole.sizes().vec(), element_bytes);
  for (size_t dim = 0; dim < box.sizes.size(); ++dim) {
    const int64_t scale = dim + 1 == box.sizes.size() ? element_bytes : 1;
    part = part.narrow(static_cast<int64_t>(dim), box.offsets[dim] * scale, box.sizes[dim] * scale);
  }
  part.copy_(as_bytes(values, box.sizes, element_bytes));
}

class ShardedTeacher : public Teacher {
 public:
  explicit ShardedTeacher(ShardedCheckpoint checkpoint)
      : choice_(std::move(checkpoint.choice)),
        sharded_(std::move(checkpoint.tensors)),
        files_(checkpoint.files) {
    std::stable_sort(sharded_.begin(), sharded_.end(), comes_before);
    const std::string source = checkpoint.index ? checkpoint.index->path().string() : "";
    for (const ShardedTensor& tensor : sharded_) {
      files_.add(tensor);
      const std::string file =
          tensor.chunks.empty() ? source : checkpoint.files[tensor.chunks[0].place.file].string();
      tensors_.push_back({tensor.name.substr(checkpoint.prefix_bytes), tensor.sizes, tensor.dtype,
                          file, at::kCPU});
    }
    if (checkpoint.index) {
      described_.push_back(describe(*checkpoint.index, checkpoint));
      described_.back().is_index = true;
    }
    for (const auto& file : files_.mappings()) described_.push_back(describe(*file, checkpoint));
  }

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }
  std::vector<TeacherFile> files() const override { return described_; }
  TeacherChoice choice() const override { return choice_; }

  at::Tensor read(size_t index) override {
    const ShardedTensor& tensor = sharded_.at(index);
    // One chunk that covers the tensor is the tensor.
    if (tensor.chunks.size() == 1) {
      const TensorChunk& chunk = tensor.chunks.front();
      return read_stored_tensor(files_.find(tensor, chunk), files_.mapping(chunk)).contiguous();
    }
    at::Tensor whole = at::empty(tensor.sizes, tensor.dtype);
    for (const TensorChunk& chunk : tensor.chunks) {
      const StoredTensor found = files_.find(tensor, chunk);
      if (is_row_major(found)) {
        copy_into_box(whole, chunk.box, found.memory.data());
      } else {
        const at::Tensor values = read_stored_tensor(found, files_.mapping(chunk)).contiguous();
        copy_into_box(whole, chunk.box, values.const_data_ptr());
      }
    }
    return whole;
  }

 private:
  static bool comes_before(const ShardedTensor& a, const ShardedTensor& b) {
    if (a.chunks.empty() || b.chunks.empty()) return a.chunks.size() < b.chunks.size();
    const ChunkPlace& x = a.chunks.front().place;
    const ChunkPlace& y = b.chunks.front().place;
    return std::tie(x.file, x.offset) < std::tie(y.file, y.offset);
  }

  static TeacherFile describe(const MappedFile& file, const ShardedCheckpoint& checkpoint) {
    return {file.path().string(), file.size(), file.modified_ns(), checkpoint.header, false};
  }

  TeacherChoice choice_;
  std::vector<ShardedTensor> sharded_;
  std::vector<TeacherTensor> tensors_;
  std::vector<TeacherFile> described_;
  ChunkFiles files_;
};

}  // namespace

std::unique_ptr<Teacher> make_sharded_teacher(ShardedCheckpoint checkpoint) {
  return std::make_unique<ShardedTeacher>(std::move(checkpoint));
}

}  // namespace fakescore::detail
