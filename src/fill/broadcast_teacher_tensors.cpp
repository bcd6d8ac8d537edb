#include "fakescore/fill/broadcast_teacher_tensors.hpp"

#include <tuple>

#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"

namespace fakescore {

auto wire_fields(TeacherTensor& tensor) {
  // Its device is the root's own.
  return std::tie(tensor.name, tensor.sizes, tensor.dtype, tensor.file, tensor.stored_name);
}

std::vector<TeacherTensor> broadcast_teacher_tensors(const TeacherSource& teacher,
                                                     Communicator& communicator, int root) {
  std::string bytes;
  run_agreed(communicator, "plan", ErrorCode::kTeacher, [&] {
    if (communicator.rank() == root) bytes = detail::to_wire(teacher.open()->tensors());
  });
  return std::get<0>(detail::from_wire<std::vector<TeacherTensor>>(
      communicator.broadcast_message(bytes, root, "plan"), "the teacher's tensors"));
}

}  // namespace fakescore
