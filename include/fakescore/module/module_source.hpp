#pragma once

#include <memory>

#include "fakescore/export.hpp"
#include "fakescore/teacher/teacher_source.hpp"

namespace torch::nn {
class Module;
}

namespace fakescore {

/// A teacher in memory: the parameters and persistent buffers that `module` has when the teacher is
/// opened, under their names. On the CPU or on the root's GPU.
FAKESCORE_API TeacherSource module_source(std::shared_ptr<torch::nn::Module> module);

}  // namespace fakescore
