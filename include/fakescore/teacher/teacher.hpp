#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fakescore/tensor/shard.hpp"

namespace fakescore {

/// One named tensor of a teacher.
struct TeacherTensor {
  std::string name;
  std::vector<int64_t> sizes;
  at::ScalarType dtype = at::kFloat;
  std::string file;              ///< path of its file; empty for a teacher in memory
  at::Device device = at::kCPU;  ///< of the tensor that `read` returns
  /// Its name in the teacher if TeacherSource renamed it; else empty.
  std::string stored_name = {};
  /// Where each rank has a part: this one's. `sizes` are then the whole tensor's, and `read`
  /// returns the part.
  std::optional<Shard> shard = {};
};

/// A file that an opened teacher reads. Ranks compare these to know whether they see the same
/// files.
struct TeacherFile {
  std::string path;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  ///< mtime, in nanoseconds since the epoch
  Digest header;            ///< of the part that lists its tensors and their places
  bool is_index = false;    ///< says where tensors lie and holds none: it is read when opened
};

/// Which file of a teacher's path was taken, and what else could have been meant.
struct TeacherChoice {
  /// The path of the file or of the index; of numbered shards without an index, with a star for
  /// their numbers (FOLDER/model-*-of-00003.safetensors). Empty for a teacher in memory.
  std::string taken;
  /// Where the path was a folder, the weights in it that were not taken, as paths, sorted; shards
  /// of one set are one entry, with a star.
  std::vector<std::string> passed_over = {};
};

/// The bytes of a tensor's row-major elements, in a mapped file.
class FAKESCORE_API FileBytes {
 public:
  virtual ~FileBytes() = default;
  /// All of them, as mapped: not to be written.
  virtual std::span<const std::byte> memory() const = 0;
  /// Copies bytes from `begin` on to host memory. Reads the file and not its mapping, whose pages
  /// cost more than the copy. Throws TeacherError naming the file.
  virtual void read(size_t begin, std::span<std::byte> to) const = 0;
  /// Releases the mapped pages of bytes that are no longer needed. They can be read again.
  virtual void forget(size_t begin, size_t bytes) const = 0;
};

/// An opened teacher: the names and shapes of its tensors, and the tensors themselves.
/// Use from one thread.
class FAKESCORE_API Teacher {
 public:
  virtual ~Teacher() = default;
  /// Sorted by the place of their data, so that reading in this order is sequential.
  virtual const std::vector<TeacherTensor>& tensors() const = 0;
  /// The tensor `tensors()[index]`, without a copy where possible: of a mapped file it is a view
  /// of the mapping (not to be written; strided in a PyTorch file; keeps the file mapped).
  virtual at::Tensor read(size_t index) = 0;
  /// The file's bytes of `tensors()[index]`; null if no file holds its elements in row-major
  /// order. Valid as long as the Teacher.
  virtual std::shared_ptr<const FileBytes> file_bytes(size_t /*index*/) { return nullptr; }
  /// The "__metadata__" of safetensors files, of all shards together. A name that is mapped to a
  /// tensor's name is tied to that tensor, as safetensors' save_model writes it.
  virtual std::map<std::string, std::string> metadata() const { return {}; }
  /// The files that `read` reads; empty for a teacher in memory.
  virtual std::vector<TeacherFile> files() const { return {}; }
  virtual TeacherChoice choice() const { return {}; }
};

}  // namespace fakescore
