#include "teacher/formats/torch_file/torch_classes.hpp"

#include <array>
#include <optional>

namespace fakescore::detail {
namespace {

struct ClassRemedy {
  std::string_view part;  ///< of the class's full name
  std::string_view remedy;
};

constexpr std::string_view kWholeStateDict =
    "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)) "
    "of torch.distributed.checkpoint.state_dict";

/// Classes of tensors that hold something else than their elements. The first that fits counts.
constexpr std::array<ClassRemedy, 10> kTensorClasses{{
    {".DTensor", "save whole tensors: value.full_tensor() for each, on every rank, or "},
    {".ShardedTensor", "save whole tensors: "},
    {"bitsandbytes.", "save it dequantized: model.dequantize() before model.state_dict()"},
    {"torchao.", "save it dequantized: value.dequantize() for each"},
    {"optimum.quanto.", "save it dequantized: value.dequantize() for each"},
    {"transformer_engine.", "save it dequantized: value.dequantize() for each"},
    {".NestedTensor", "save it padded: value.to_padded_tensor(0)"},
    {".AsyncCollectiveTensor", "save what was waited for: value.wait()"},
    {".FakeTensor", "save the real tensors: a fake one has no values"},
    {".FunctionalTensor", "save it outside of torch.func: value.from_functional()"},
}};

std::optional<std::string> known_remedy(std::string_view name) {
  for (const auto& [part, remedy] : kTensorClasses) {
    if (name.find(part) == std::string_view::npos) continue;
    std::string text(remedy);
    const bool is_sharded = part == ".DTensor" || part == ".ShardedTensor";
    return is_sharded ? text.append(kWholeStateDict) : text;
  }
  return std::nullopt;
}

}  // namespace

std::string remedy_for_tensor_class(std::string_view name, bool has_plain_data) {
  if (const auto known = known_remedy(name)) return *known;
  return has_plain_data
             ? "save it as a plain tensor: value.detach().as_subclass(torch.Tensor)"
             : "save it as a plain tensor: value.dequantize(), or what else the class has for it";
}

std::string remedy_for_object_class(std::string_view name) {
  if (const auto known = known_remedy(name)) return *known;
  if (name.starts_with("numpy.")) {
    return "save it as a tensor, torch.as_tensor(value), or leave it out of the state dict";
  }
  return "save the tensors alone: torch.save(model.state_dict(), path)";
}

}  // namespace fakescore::detail
