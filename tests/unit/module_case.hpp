#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore::testing {

/// A module that replays must give as eager construction does. The name begins with the class,
/// which ends at the first "_".
struct ModuleCase {
  std::string name;
  std::function<std::shared_ptr<torch::nn::Module>()> build;

  friend std::ostream& operator<<(std::ostream& out, const ModuleCase& item) {
    return out << item.name;
  }
};

/// A module that makes these known: tensors that it did not register.
class HasPlainMembers {
 public:
  virtual ~HasPlainMembers() = default;
  virtual std::vector<NamedTensor> plain_members() const = 0;
};

/// Every class of torch::nn that can have parameters or buffers, with the options that change what
/// is initialised, and how.
std::vector<ModuleCase> layer_cases();
std::vector<ModuleCase> recurrent_cases();
std::vector<ModuleCase> attention_cases();
std::vector<ModuleCase> loss_and_container_cases();
/// The other classes of torch::nn.
std::vector<ModuleCase> parameterless_cases();

/// Modules as people write them on top of torch::nn.
std::vector<ModuleCase> own_module_cases();

}  // namespace fakescore::testing
