#pragma once

#include <torch/custom_class.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/meta/meta_init.hpp"

namespace fakescore::python {

class Tape : public torch::CustomClassHolder {
 public:
  explicit Tape(std::shared_ptr<InitTape> tape) : tape_(std::move(tape)) {}
  const std::shared_ptr<InitTape>& get() const noexcept { return tape_; }

  c10::List<bool> knows(const std::vector<at::Tensor>& tensors) const;
  c10::List<int64_t> uses_since(const std::vector<at::Tensor>& tensors, int64_t since) const;
  void mark_unknown(const std::string& name, const at::Tensor& tensor, int64_t since);
  int64_t size() const { return static_cast<int64_t>(tape_->size()); }

 private:
  std::shared_ptr<InitTape> tape_;
};

/// A MetaInitGuard between two calls of one thread.
class Guard : public torch::CustomClassHolder {
 public:
  /// `seed` is the bit pattern of an unsigned number.
  std::string begin(bool sequential, std::optional<int64_t> seed);
  std::string end();
  bool is_supported() const { return MetaInitGuard::is_supported(); }
  c10::intrusive_ptr<Tape> tape() const { return c10::make_intrusive<Tape>(tape_); }

 private:
  std::shared_ptr<InitTape> tape_;
  std::unique_ptr<MetaInitGuard> guard_;
};

/// Between two calls of one thread, no guard of it sees anything.
class Pause : public torch::CustomClassHolder {
 public:
  void begin() { pause_.emplace(); }
  void end() { pause_.reset(); }

 private:
  std::optional<MetaInitPause> pause_;
};

void register_tape(torch::Library& library);

}  // namespace fakescore::python
