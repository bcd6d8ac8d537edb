#include "support/checkpoint_plan.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "fakescore/module/module_tensors.hpp"
#include "fakescore/teacher/save_safetensors.hpp"

namespace fakescore::testing {
namespace {

bool same_elements(const at::Tensor& a, const at::Tensor& b) {
  return a.is_alias_of(b) && a.dtype() == b.dtype() && a.sizes() == b.sizes() &&
         a.strides() == b.strides() && a.storage_offset() == b.storage_offset() &&
         a.is_conj() == b.is_conj() && a.is_neg() == b.is_neg();
}

std::vector<NamedTensor> without_ties(std::vector<NamedTensor> tensors, TiedNames tied) {
  if (tied == TiedNames::kLast) std::reverse(tensors.begin(), tensors.end());
  std::vector<NamedTensor> kept;
  for (const NamedTensor& entry : tensors) {
    const bool is_tied = std::any_of(kept.begin(), kept.end(), [&](const NamedTensor& other) {
      return same_elements(entry.tensor, other.tensor);
    });
    if (!is_tied || tied == TiedNames::kAll) kept.push_back(entry);
  }
  return kept;
}

/// All that shares a storage is stored in one dtype: views in several would hold other values.
void store_in(at::ScalarType dtype, const at::Tensor& chosen,
              const std::vector<NamedTensor>& tensors, Checkpoint& checkpoint) {
  for (const NamedTensor& entry : tensors) {
    if (entry.tensor.is_alias_of(chosen) && !at::isFloatingType(entry.tensor.scalar_type())) return;
  }
  for (const NamedTensor& entry : tensors) {
    const auto found = checkpoint.find(entry.name);
    if (found != checkpoint.end() && entry.tensor.is_alias_of(chosen)) {
      found->second = entry.tensor.detach().to(dtype);
    }
  }
}

bool files_can_have(const Checkpoint& checkpoint) {
  return std::all_of(checkpoint.begin(), checkpoint.end(), [](const auto& entry) {
    return entry.second.scalar_type() != at::kComplexDouble;
  });
}

using NamedTensors = std::vector<NamedTensor>;

/// In no order that says anything.
NamedTensors listed(const Checkpoint& checkpoint) {
  NamedTensors tensors;
  for (const auto& [name, tensor] : checkpoint) tensors.push_back({name, tensor});
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::hash<std::string>()(a.name) < std::hash<std::string>()(b.name);
  });
  return tensors;
}

std::filesystem::path write_shards(const NamedTensors& tensors,
                                   const std::filesystem::path& folder) {
  std::vector<NamedTensors> shards(3);
  nlohmann::json weight_map = nlohmann::json::object();
  const auto file_of = [](size_t shard) {
    return "part " + std::to_string(shard) + ".safetensors";
  };
  for (size_t i = 0; i < tensors.size(); ++i) {
    shards[i % shards.size()].push_back(tensors[i]);
    weight_map[tensors[i].name] = file_of(i % shards.size());
  }
  for (size_t i = 0; i < shards.size(); ++i) save_safetensors(folder / file_of(i), shards[i]);
  const auto index = folder / "model.safetensors.index.json";
  std::ofstream(index) << nlohmann::json{{"weight_map", weight_map}};
  return index;
}

}  // namespace

Checkpoint make_checkpoint(const CheckpointPlan& plan, const torch::nn::Module& module) {
  std::vector<NamedTensor> tensors;
  for (const NamedTensor& entry : module_tensors(module)) {
    const bool stays = plan.non_persistent || entry.kind != TensorKind::kNonPersistentBuffer;
    if (stays) tensors.push_back(entry);
  }
  tensors = without_ties(std::move(tensors), plan.tied);
  Checkpoint checkpoint;
  for (const NamedTensor& entry : tensors) checkpoint[entry.name] = entry.tensor.detach();
  for (const auto& [index, dtype] : plan.stored) {
    if (!tensors.empty()) {
      store_in(dtype, tensors[index % tensors.size()].tensor, tensors, checkpoint);
    }
  }
  for (const size_t index : plan.dropped) {
    if (!tensors.empty()) checkpoint.erase(tensors[index % tensors.size()].name);
  }
  for (size_t i = 0; i < plan.extra; ++i) {
    checkpoint["n0.extra" + std::to_string(i)] = torch::full({3}, static_cast<double>(i));
  }
  return checkpoint;
}

TeacherSource store(const CheckpointPlan& plan, const Checkpoint& checkpoint,
                    const std::filesystem::path& folder) {
  NamedTensors tensors = listed(checkpoint);
  if (plan.form == CheckpointForm::kMemory || checkpoint.empty() || !files_can_have(checkpoint)) {
    if (plan.contiguous) {
      for (auto& entry : tensors) entry.tensor = entry.tensor.contiguous();
    }
    return TeacherSource::state_dict(std::move(tensors));
  }
  if (plan.form == CheckpointForm::kShards) {
    return TeacherSource::path(write_shards(tensors, folder));
  }
  const auto file = folder / "model.safetensors";
  save_safetensors(file, tensors, {{"format", "pt"}});
  return TeacherSource::path(file);
}

std::ostream& operator<<(std::ostream& out, const CheckpointPlan& plan) {
  static const std::array<const char*, 3> kForms{"memory", "file", "shards"};
  static const std::array<const char*, 3> kTied{"all", "first", "last"};
  out << "  checkpoint in " << kForms[static_cast<size_t>(plan.form)]
      << ", tied names: " << kTied[static_cast<size_t>(plan.tied)] << ", " << plan.extra
      << " extra";
  if (plan.non_persistent) out << ", with non-persistent buffers";
  if (plan.form == CheckpointForm::kMemory && !plan.contiguous) out << ", strided";
  for (const size_t index : plan.dropped) out << ", without key " << index;
  for (const auto& [index, dtype] : plan.stored) out << ", key " << index << " as " << dtype;
  return out << '\n';
}

}  // namespace fakescore::testing
