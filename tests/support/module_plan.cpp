#include "support/module_plan.hpp"

#include <ATen/MemoryOverlap.h>

#include <array>

namespace fakescore::testing {
namespace {

using at::Tensor;
namespace init = torch::nn::init;

bool has_gradients(at::ScalarType dtype) {
  return at::isFloatingType(dtype) || at::isComplexType(dtype);
}

/// JSON, dotted names and reports must cope with these.
std::string name_of(size_t index) {
  static const std::array<const char*, 6> kStems{"weight", "bias", "to q", "ä", "\"x\"\\", "_"};
  return kStems[index % kStems.size()] + std::to_string(index);
}

Tensor filled_float(const TensorPlan& plan, at::IntArrayRef sizes) {
  const Tensor tensor = torch::empty(sizes, plan.dtype);
  const size_t dims = sizes.size();
  switch (plan.fill % 11) {
    case 0:
      return torch::zeros(sizes, plan.dtype);
    case 1:
      return tensor.normal_();
    case 2:
      return tensor.uniform_(-2, 1);
    case 3:
      return dims >= 2 && tensor.numel() > 0 ? init::kaiming_uniform_(tensor) : tensor.fill_(3);
    case 4:
      return dims >= 2 && tensor.numel() > 0 ? init::xavier_normal_(tensor) : tensor.fill_(-1);
    case 5:
      return dims == 2 ? init::eye_(tensor) : torch::ones(sizes, plan.dtype);
    case 6:
      return torch::linspace(-1, 1, tensor.numel()).to(plan.dtype).view(sizes);
    case 7:
      return torch::randn(sizes).mul_(3).sin().to(plan.dtype);
    case 8:
      return torch::bernoulli(torch::full(sizes, 0.3)).to(plan.dtype);
    case 9:
      return tensor.fill_(0.1).add_(torch::rand(sizes).to(plan.dtype), 2);
    default:
      // A value that is read at once decides what is made.
      return torch::full(sizes, torch::rand({3}).sum().item<double>(), plan.dtype);
  }
}

Tensor filled(const TensorPlan& plan, at::IntArrayRef sizes) {
  if (plan.dtype == at::kBool) return torch::rand(sizes) > 0.5;
  if (at::isComplexType(plan.dtype)) {
    const auto real = c10::toRealValueType(plan.dtype);
    return torch::polar(torch::rand(sizes, real), torch::randn(sizes, real));
  }
  if (at::isFloatingType(plan.dtype)) return filled_float(plan, sizes);
  switch (plan.fill % 3) {
    case 0:
      return torch::zeros(sizes, plan.dtype);
    case 1:
      return torch::randint(100, sizes, plan.dtype);
    default:
      return torch::arange(c10::multiply_integers(sizes)).remainder(100).to(plan.dtype).view(sizes);
  }
}

Tensor laid_out(const TensorPlan& plan) {
  std::vector<int64_t> sizes = plan.sizes;
  const bool is_complex = at::isComplexType(plan.dtype);
  switch (plan.layout) {
    case Layout::kTransposed:
      if (sizes.size() < 2) break;
      std::swap(sizes.front(), sizes.back());
      return filled(plan, sizes).transpose(0, -1);
    case Layout::kChannelsLast:
      if (sizes.size() != 4) break;
      return filled(plan, sizes).contiguous(at::MemoryFormat::ChannelsLast);
    case Layout::kGaps:
      if (sizes.empty()) break;
      sizes.back() = 2 * sizes.back() + 1;
      return filled(plan, sizes).slice(-1, 1, sizes.back(), 2);
    case Layout::kExpanded:
      if (sizes.empty()) break;
      sizes.front() = 1;
      return filled(plan, sizes).expand(plan.sizes);
    case Layout::kConjugate:
      if (is_complex) return filled(plan, sizes).conj();
      break;
    case Layout::kPlain:
      break;
  }
  return filled(plan, sizes);
}

Tensor view_of(const Tensor& base, size_t which) {
  const int64_t size = base.dim() == 0 ? 0 : base.size(0);
  const auto k = static_cast<int64_t>(which / 9);
  switch (which % 9) {
    case 1:
      if (size > 0) return base.select(0, k % size);
      break;
    case 2:
      if (size > 1) return base.narrow(0, k % size, size - k % size);
      break;
    case 3:
      if (base.dim() >= 2) return base.transpose(0, -1);
      break;
    case 4:
      if (base.is_contiguous()) return base.view({-1});
      break;
    case 5:
      if (size > 0) return base.slice(0, k % size, size, 2);
      break;
    case 6:
      if (base.is_complex()) return k % 2 == 0 ? torch::real(base) : torch::imag(base);
      break;
    case 7:
      if (base.is_complex() && !base.is_conj()) return torch::view_as_real(base);
      break;
    case 8:
      if (base.scalar_type() == at::kFloat && !base.is_neg()) return base.view(at::kInt);
      break;
    default:
      break;
  }
  return base.detach();
}

Tensor given_by(const Tensor& tensor, size_t which) {
  const Tensor earlier = tensor.is_complex() ? tensor.abs() : tensor;
  switch (which % 6) {
    case 1:
      return earlier.to(at::kFloat).mul(0.5);
    case 2:
      return earlier.to(at::kFloat).sum();
    case 3:
      return torch::zeros_like(earlier);
    case 4:
      return earlier.to(at::kBFloat16);
    case 5:
      return torch::stack({earlier, earlier}).mean(0, /*keepdim=*/false, at::kDouble);
    default:
      return earlier.clone();
  }
}

class Builder {
 public:
  explicit Builder(const ModulePlan& plan) : plan_(plan) {
    nodes_.push_back(std::make_shared<PlannedModule>());
  }

  std::shared_ptr<torch::nn::Module> build() {
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      nodes_.push_back(std::make_shared<PlannedModule>());
      if (!plan_.nodes[i].late) adopt(i);
    }
    for (const TensorPlan& tensor : plan_.tensors) add(tensor);
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      if (plan_.nodes[i].late) adopt(i);
    }
    for (const size_t index : plan_.writes) write(index);
    return nodes_.front();
  }

 private:
  /// Parents come before their children, so that there are no circles.
  void adopt(size_t index) {
    const NodePlan& node = plan_.nodes[index];
    const auto& child = nodes_[index + 1];
    nodes_[node.parent % (index + 1)]->register_module("n" + std::to_string(index), child);
    if (node.second_parent != 0) {
      nodes_[node.second_parent % (index + 1)]->register_module("s" + std::to_string(index), child);
    }
  }

  Tensor make(const TensorPlan& plan) {
    if (tensors_.empty() || plan.origin == Origin::kOwn) return laid_out(plan);
    const Tensor& earlier = tensors_[plan.earlier % tensors_.size()];
    if (plan.origin == Origin::kTied) return earlier;
    if (plan.origin == Origin::kView) return view_of(earlier.detach(), plan.fill);
    return given_by(earlier.detach(), plan.fill);
  }

  void add(const TensorPlan& plan) {
    const Tensor tensor = make(plan);
    const std::string name = name_of(tensors_.size());
    PlannedModule& node = *nodes_[plan.node % nodes_.size()];
    switch (plan.role) {
      case Role::kParameter:
        node.register_parameter(name, tensor, has_gradients(tensor.scalar_type()));
        break;
      case Role::kFrozen:
        node.register_parameter(name, tensor, /*requires_grad=*/false);
        break;
      case Role::kNonPersistent:
        node.non_persistent.push_back(name);
        [[fallthrough]];
      case Role::kBuffer:
        node.register_buffer(name, tensor);
        break;
      case Role::kMember:
        node.members.push_back(tensor);
        break;
    }
    tensors_.push_back(tensor);
  }

  void write(size_t index) {
    if (tensors_.empty()) return;
    const torch::NoGradGuard no_grad;
    const Tensor& tensor = tensors_[index % tensors_.size()];
    if (at::has_internal_overlap(tensor) != at::MemOverlap::No) return;
    if (has_gradients(tensor.scalar_type())) {
      tensor.mul_(1.5);
    } else {
      tensor.copy_(tensor.flip(tensor.dim() == 0 ? at::IntArrayRef{} : at::IntArrayRef{0}));
    }
  }

  const ModulePlan& plan_;
  std::vector<std::shared_ptr<PlannedModule>> nodes_;
  std::vector<Tensor> tensors_;
};

const char* to_string(Role role) {
  static const std::array<const char*, 5> kNames{"parameter", "frozen parameter", "buffer",
                                                 "non-persistent buffer", "member"};
  return kNames[static_cast<size_t>(role)];
}

const char* to_string(Layout layout) {
  static const std::array<const char*, 6> kNames{"plain", "transposed", "channels last",
                                                 "gaps",  "expanded",   "conjugate"};
  return kNames[static_cast<size_t>(layout)];
}

const char* to_string(Origin origin) {
  static const std::array<const char*, 4> kNames{"own", "tied to", "view of", "given by"};
  return kNames[static_cast<size_t>(origin)];
}

}  // namespace

std::shared_ptr<torch::nn::Module> build_planned(const ModulePlan& plan) {
  return Builder(plan).build();
}

std::vector<at::Tensor> plain_members(const torch::nn::Module& planned) {
  std::vector<at::Tensor> members;
  for (const auto& part : planned.modules(/*include_self=*/false)) {
    const auto& own = dynamic_cast<const PlannedModule&>(*part).members;
    members.insert(members.end(), own.begin(), own.end());
  }
  const auto& own = dynamic_cast<const PlannedModule&>(planned).members;
  members.insert(members.end(), own.begin(), own.end());
  return members;
}

std::ostream& operator<<(std::ostream& out, const ModulePlan& plan) {
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    const NodePlan& node = plan.nodes[i];
    out << "  node " << i + 1 << " under " << node.parent % (i + 1);
    if (node.second_parent != 0) out << " and " << node.second_parent % (i + 1);
    out << (node.late ? ", late\n" : "\n");
  }
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const TensorPlan& tensor = plan.tensors[i];
    out << "  tensor " << i << " " << name_of(i) << ": " << to_string(tensor.role) << " of node "
        << tensor.node % (plan.nodes.size() + 1) << ", ";
    if (i == 0 || tensor.origin == Origin::kOwn) {
      out << tensor.dtype << at::IntArrayRef(tensor.sizes) << ' ' << to_string(tensor.layout)
          << ", fill " << tensor.fill << '\n';
    } else {
      out << to_string(tensor.origin) << ' ' << tensor.earlier % i << ", " << tensor.fill << '\n';
    }
  }
  for (const size_t index : plan.writes) {
    if (!plan.tensors.empty()) out << "  write to " << index % plan.tensors.size() << '\n';
  }
  return out;
}

}  // namespace fakescore::testing
