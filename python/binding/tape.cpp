#include "tape.hpp"

#include "reply.hpp"

namespace fakescore::python {

c10::List<bool> Tape::knows(const std::vector<at::Tensor>& tensors) const {
  c10::List<bool> known;
  known.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) known.push_back(tape_->knows(tensor));
  return known;
}

c10::List<int64_t> Tape::uses_since(const std::vector<at::Tensor>& tensors, int64_t since) const {
  c10::List<int64_t> uses;
  for (const TensorUse use : tape_->uses_since(tensors, static_cast<size_t>(since))) {
    uses.push_back(static_cast<int64_t>(use));
  }
  return uses;
}

void Tape::mark_unknown(const std::string& name, const at::Tensor& tensor, int64_t since) {
  tape_->mark_unknown(name, tensor, static_cast<size_t>(since));
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
  library.class_<Tape>("Tape")
      .def("knows", &Tape::knows)
      .def("uses_since", &Tape::uses_since)
      .def("mark_unknown", &Tape::mark_unknown)
      .def("size", &Tape::size);
  library.class_<Pause>("Pause")
      .def(torch::init<>())
      .def("begin", &Pause::begin)
      .def("end", &Pause::end);
  library.class_<Guard>("Guard")
      .def(torch::init<>())
      .def("begin", &Guard::begin)
      .def("end", &Guard::end)
      .def("is_supported", &Guard::is_supported)
      .def("tape", &Guard::tape);
}

}  // namespace fakescore::python
