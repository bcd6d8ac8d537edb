#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/teacher/teacher.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore {

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

/// Several of a teacher's tensors that the module has as one, such as q, k and v as qkv.
struct KeyMerge {
  /// What the names have in the place of a part's: "to_qkv". One or several parts of a name, as
  /// dots divide it.
  std::string merged;
  /// In the order in which they are concatenated: {"to_q", "to_k", "to_v"}. Of every tensor whose
  /// name has the first of them, all others must be there.
  std::vector<std::string> parts;
  int64_t dim = 0;  ///< along which they are concatenated; negative ones count from the end
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
  /// Named tensors in memory, on the CPU or on the root's GPU. With shards among them, which it may
  /// hold whole tensors beside, every rank gives its own, on its GPU or the CPU; opening throws
  /// TeacherError for one that is not the box that it is said to be.
  static TeacherSource state_dict(std::vector<NamedTensor> tensors);
  /// Whatever `open` opens, each time that it is called. `description` names it in errors.
  static TeacherSource custom(std::string description,
                              std::function<std::unique_ptr<Teacher>()> open);

  /// The tensors of several teachers, as if they were one. open() throws TeacherError naming a
  /// tensor that two of them have. Throws ConfigError for none.
  static TeacherSource combine(std::vector<TeacherSource> sources);

  /// Takes off what wrappers put into names: `_orig_mod.` (torch.compile),
  /// `_checkpoint_wrapped_module.`, `_fsdp_wrapped_module.`; a `module.` that all names begin with
  /// (DistributedDataParallel); and of names that begin with `base_model.model.` (PEFT) that and
  /// `base_layer.`.
  TeacherSource unwrap_names() const;
  /// Makes one tensor of several. open() throws TeacherError naming a part that is missing or whose
  /// dtype or other sizes differ. A merged tensor is made when it is read. Throws ConfigError for a
  /// merge of less than two parts or with an empty or repeated one.
  TeacherSource merge_keys(std::vector<KeyMerge> merges) const;
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
  /// Whether each rank gives parts of its own.
  bool in_shards() const noexcept { return in_shards_; }

 private:
  TeacherSource(std::string description, std::function<std::unique_ptr<Teacher>()> open,
                bool in_shards = false)
      : description_(std::move(description)), open_(std::move(open)), in_shards_(in_shards) {}

  std::string description_;
  std::function<std::unique_ptr<Teacher>()> open_;
  bool in_shards_;
};

}  // namespace fakescore
