#include "tape.hpp"

#include "reply.hpp"

namespace fakescore::python {

c10::List<bool> Tape::knows(const std::vector<at::Tensor>& tensors) const {
  c10::List<bool> known;
  known.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) known.push_back(tape_->knows(tensor));
  return known;
}

std::string Guard::begin(bool sequential, std::optional<int64_t> seed) {
  return reply_done([&] {
    MetaInitOptions options;
    options.random = sequential ? RandomMode::kSequential : RandomMode::kPerOp;
    if (seed) options.seed = static_cast<uint64_t>(*seed);
    options.records_named_devices = true;
    guard_ = std::make_unique<MetaInitGuard>(options);
    tape_ = guard_->tape();
  });
}

std::string Guard::end() {
  return reply_done([&] { guard_.reset(); });
}

void register_tape(torch::Library& library) {
  library.class_<Tape>("Tape").def("knows", &Tape::knows).def("size", &Tape::size);
  library.class_<Pause>("Pause")
      .def(torch::init<>())
      .def("begin", &Pause::begin)
      .def("end", &Pause::end);
  library.class_<Guard>("Guard")
      .def(torch::init<>())
      .def("begin", &Guard::begin)
      .def("end", &Guard::end)
      .def("tape", &Guard::tape);
}

}  // namespace fakescore::python
