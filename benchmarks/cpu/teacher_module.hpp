#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::benchmark {

/// What a program that uses a teacher knows of it without opening it: the structure.
struct Structure {
  /// The tensors of a submodule, by their names in it.
  using Leaves = std::map<std::string, TeacherTensor>;
  std::map<std::string, Leaves> submodules;
  std::map<std::string, std::string> ties;  ///< a name that no file holds, and the owner's
};

/// Of a file that benchmarks/common/make_teacher.py wrote with --traps.
Structure read_structure(const std::filesystem::path& teacher);

/// Builds the module the way a model's own constructor does: torch::nn's layers with their
/// initialisation, cast to the teacher's dtypes, the rest as plain parameters and buffers, rotary
/// tables as non-persistent buffers, and ties. peers.py builds the same one in Python.
std::shared_ptr<torch::nn::Module> build_teacher_module(const Structure& structure);

/// Whether this rank's module is what the file and the structure say.
struct Comparison {
  std::string first_difference;  ///< name of a tensor that is not bit-equal to the file's, or empty
  bool buffers_right = false;    ///< the rotary tables
  bool ties_right = false;       ///< one storage under both names
};

Comparison compare_with_teacher(const torch::nn::Module& module, const Structure& structure,
                                const std::filesystem::path& teacher);

}  // namespace fakescore::benchmark
