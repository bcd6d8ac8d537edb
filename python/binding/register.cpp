// The classes of torch.classes.fakescore, which the package alone uses. They are TorchScript's and
// not pybind11's, so that one library serves every Python of a torch version; their calls release
// the GIL.
#include <torch/library.h>

#include "communicator.hpp"
#include "tape.hpp"
#include "target.hpp"
#include "teacher.hpp"

TORCH_LIBRARY(fakescore, library) {
  fakescore::python::register_tape(library);
  fakescore::python::register_teacher(library);
  fakescore::python::register_target(library);
  fakescore::python::register_communicator(library);
}
