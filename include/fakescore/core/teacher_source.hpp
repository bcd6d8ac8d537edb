#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/core/digest.hpp"
#include "fakescore/export.hpp"

namespace torch::nn {
class Module;
}

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

/// Which checkpoint of a path is meant.
struct TeacherPathOptions {
  /// The key under which a PyTorch file nests its state dict: "ema", "model.state_dict". For a
  /// distributed checkpoint, the prefix of the names. Empty: the file's top level, which must be a
  /// state dict itself.
  std::string key;
  /// The variant of a folder's files: "fp16" means diffusion_pytorch_model.fp16.safetensors.
  std::string variant;
  /// The folder below the given one that holds the weights: "transformer".
  std::string subfolder;
};

/// The name that the module has for a teacher's tensor; nullopt leaves the tensor out.
using KeyMap = std::function<std::optional<std::string>(const std::string& name)>;

/// Says which teacher is meant. Cheap to make on every rank; opened on the ranks that read it.
///
/// strip_prefix, rename_keys and map_keys return the same teacher under other names. They work for
/// every kind of source, and can be combined. They also rename what the files' metadata ties to a
/// tensor. If two tensors would get one name, open() throws TeacherError naming both.
class FAKESCORE_API TeacherSource {
 public:
  /// A safetensors file, one of torch.save or torch.jit.save, an index of such (*.index.json), a
  /// folder that holds one (docs/teachers.md says which is taken), or a distributed checkpoint: the
  /// folder that holds its `.metadata`, or that file. Numbered shards without an index are named
  /// with a star: FOLDER/model-*-of-00003.safetensors. Nothing is opened here.
  static TeacherSource path(std::filesystem::path path, TeacherPathOptions options = {});
  /// Named tensors in memory, on the CPU or on the root's GPU.
  static TeacherSource state_dict(std::vector<std::pair<std::string, at::Tensor>> tensors);
  /// A module in memory: its parameters and buffers under their names.
  static TeacherSource module(std::shared_ptr<torch::nn::Module> module);

  /// Removes `prefix` ("model.diffusion_model.", with its last dot) from the names that begin with
  /// it; other names stay. If no name begins with it, open() throws TeacherError saying how names
  /// begin. Throws ConfigError for an empty prefix.
  TeacherSource strip_prefix(std::string prefix) const;
  /// Rules "FROM=TO", one after the other: every match of the ECMAScript regular expression FROM
  /// in a name is replaced by TO, in which $1 is FROM's first group and $$ a dollar. The first "="
  /// ends FROM; "\=" is one in it. Names and FROM have at most 1024 bytes. Throws ConfigError
  /// naming a rule that is malformed.
  TeacherSource rename_keys(const std::vector<std::string>& rules) const;
  /// Renames by `map`, which open() calls once for each name, and which must give the same result
  /// on every rank. `what` names the map in errors. If `map` throws or returns an empty name,
  /// open() throws TeacherError naming the tensor. Throws ConfigError for an empty `map`.
  TeacherSource map_keys(KeyMap map, std::string what = "the key map") const;

  /// Opens it. Throws TeacherError naming the file, and the tensor if the error concerns one.
  std::unique_ptr<Teacher> open() const { return open_(); }
  /// For messages: the path, or words for a teacher in memory.
  const std::string& description() const noexcept { return description_; }

 private:
  TeacherSource(std::string description, std::function<std::unique_ptr<Teacher>()> open)
      : description_(std::move(description)), open_(std::move(open)) {}

  std::string description_;
  std::function<std::unique_ptr<Teacher>()> open_;
};

/// Writes tensors as one safetensors file, in the order given; "__metadata__" holds `metadata`.
/// Tensors must be on the CPU; non-contiguous ones are written in logical order. The file appears
/// under its name only once it is complete. Throws TeacherError naming the file.
FAKESCORE_API void save_safetensors(const std::filesystem::path& path,
                                    const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                                    const std::map<std::string, std::string>& metadata = {});

}  // namespace fakescore
