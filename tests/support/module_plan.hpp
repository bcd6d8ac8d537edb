#pragma once

#include <torch/torch.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "fakescore/module/non_persistent.hpp"

namespace fakescore::testing {

/// How a module holds a tensor.
enum class Role { kParameter, kFrozen, kBuffer, kNonPersistent, kMember };

/// How a tensor of its own lies in its storage; kPlain where its shape does not allow the other.
enum class Layout { kPlain, kTransposed, kChannelsLast, kGaps, kExpanded, kConjugate };

/// Where a tensor comes from.
enum class Origin {
  kOwn,    ///< made for itself
  kTied,   ///< an earlier tensor object, under one more name
  kView,   ///< a view of an earlier one
  kGiven,  ///< computed from an earlier one's values
};

struct TensorPlan {
  size_t node = 0;
  Role role = Role::kParameter;
  Origin origin = Origin::kOwn;
  size_t earlier = 0;  ///< which one, where the origin wants one
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> sizes;
  Layout layout = Layout::kPlain;
  size_t fill = 0;  ///< how its values are made, or which view or function of the earlier one it is
};

/// A submodule. Node 0 is the module itself.
struct NodePlan {
  size_t parent = 0;
  size_t second_parent = 0;  ///< registered there too, where it is not 0
  bool late = false;         ///< registered once all tensors are made
};

/// A module as plain data. Every number is meant modulo what there is, so that any plan is one.
struct ModulePlan {
  std::vector<NodePlan> nodes;  ///< without node 0
  std::vector<TensorPlan> tensors;
  std::vector<size_t> writes;  ///< tensors that are written to, in place, once all are made
};

/// One node of a planned module.
class PlannedModule : public torch::nn::Module, public NonPersistentBuffers {
 public:
  std::vector<std::string> non_persistent_buffers() const override { return non_persistent; }

  std::vector<std::string> non_persistent;
  std::vector<at::Tensor> members;  ///< not registered
};

/// A builder: what it makes depends on the plan and on the random numbers that it draws.
std::shared_ptr<torch::nn::Module> build_planned(const ModulePlan& plan);

/// The members of all nodes.
std::vector<at::Tensor> plain_members(const torch::nn::Module& planned);

std::ostream& operator<<(std::ostream& out, const ModulePlan& plan);

}  // namespace fakescore::testing
