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
  std::string file;              ///< where it lies; empty for a teacher in memory
  at::Device device = at::kCPU;  ///< where `read` finds it
  /// What the teacher itself calls it, where TeacherSource renamed it; else empty.
  std::string stored_name = {};
};

/// A file that an opened teacher reads: what ranks compare to know whether they see the same one.
struct TeacherFile {
  std::string path;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  ///< mtime, in nanoseconds since the epoch
  Digest header;            ///< of what says which tensors it holds, and where
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

/// The bytes of a tensor's row-major elements where they lie in a mapped file.
class FAKESCORE_API FileBytes {
 public:
  virtual ~FileBytes() = default;
  /// Copies bytes from `begin` on to host memory, past the mapping, whose pages cost more than the
  /// copy. Throws TeacherError naming the file.
  virtual void read(size_t begin, std::span<std::byte> to) const = 0;
  /// Unmaps the pages of bytes that are not wanted any more; they can be read again all the same.
  virtual void forget(size_t begin, size_t bytes) const = 0;
};

/// An opened teacher: the names and shapes of its tensors, and the tensors themselves.
/// Use from one thread.
class FAKESCORE_API Teacher {
 public:
  virtual ~Teacher() = default;
  /// Sorted by where the data lies, so that reading in this order is sequential.
  virtual const std::vector<TeacherTensor>& tensors() const = 0;
  /// The tensor `tensors()[index]`, without a copy where possible: of a mapped file it is a view
  /// of the mapping (not to be written; strided in a PyTorch file; keeps the file mapped).
  virtual at::Tensor read(size_t index) = 0;
  /// Where the bytes of `tensors()[index]` lie as they are in a file: there. Valid while the
  /// Teacher lives.
  virtual std::shared_ptr<const FileBytes> file_bytes(size_t /*index*/) { return nullptr; }
  /// What the files say beside their tensors: the "__metadata__" of safetensors, of all shards
  /// together. A name mapped to a tensor's is tied to it, as safetensors' save_model writes it.
  virtual std::map<std::string, std::string> metadata() const { return {}; }
  /// The files that `read` reads; empty for a teacher in memory.
  virtual std::vector<TeacherFile> files() const { return {}; }
  virtual TeacherChoice choice() const { return {}; }
};

/// Which checkpoint of a path is meant.
struct TeacherPathOptions {
  /// Where a PyTorch file nests its state dict: "ema", "model.state_dict"; of a distributed
  /// checkpoint, the part of the names before its tensors' own. Empty: the top, which must be one.
  std::string key;
  /// Of a folder, the variant of its files: "fp16" means diffusion_pytorch_model.fp16.safetensors.
  std::string variant;
  /// Of a folder, the folder in it that holds the weights: "transformer".
  std::string subfolder;
};

/// The name that the module has for a teacher's tensor; nullopt leaves the tensor out.
using KeyMap = std::function<std::optional<std::string>(const std::string& name)>;

/// Names a teacher; cheap to make on every rank, opened where it is read.
///
/// strip_prefix, rename_keys and map_keys give the same teacher under other names, for every kind
/// of source, and can follow each other. They rename what the files' metadata ties to a tensor too.
/// Where two tensors would have one name, open() throws TeacherError naming both.
class FAKESCORE_API TeacherSource {
 public:
  /// A safetensors file, one of torch.save or torch.jit.save, an index of such (*.index.json), a
  /// folder that holds one (docs/teachers.md says which is taken), or a distributed checkpoint: the
  /// folder that holds its `.metadata`, or that file. Numbered shards without an index are named
  /// with a star: FOLDER/model-*-of-00003.safetensors. Nothing is opened here.
  static TeacherSource path(std::filesystem::path path, TeacherPathOptions options = {});
  /// Named tensors in memory, the CPU's or the root's GPU.
  static TeacherSource state_dict(std::vector<std::pair<std::string, at::Tensor>> tensors);
  /// A module in memory: its parameters and buffers under their names.
  static TeacherSource module(std::shared_ptr<torch::nn::Module> module);

  /// Names that begin with `prefix` ("model.diffusion_model.", with its last dot) lose it; others
  /// stay. open() throws TeacherError, saying how names begin, where none begins with it. Throws
  /// ConfigError for an empty prefix.
  TeacherSource strip_prefix(std::string prefix) const;
  /// Rules "FROM=TO", one after the other: every match of the ECMAScript regular expression FROM
  /// in a name is replaced by TO, in which $1 is FROM's first group and $$ a dollar. The first "="
  /// ends FROM; "\=" is one in it. Names and FROM have at most 1024 bytes. Throws ConfigError
  /// naming a rule that is malformed.
  TeacherSource rename_keys(const std::vector<std::string>& rules) const;
  /// Names as `map` gives them; it is called by open(), once for each name, and must give the same
  /// wherever that is called. `what` names it in errors. An exception of `map` or an empty name is
  /// a TeacherError of open() naming the tensor. Throws ConfigError for an empty `map`.
  TeacherSource map_keys(KeyMap map, std::string what = "the key map") const;

  /// Opens it. Throws TeacherError naming the file, and the tensor where one is concerned.
  std::unique_ptr<Teacher> open() const { return open_(); }
  /// The path, or what it is in memory: for messages.
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
