#include "support/expected_fake_score.hpp"

#include <functional>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "fakescore/meta/meta_init.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "meta/seeded_eager_guard.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore::testing {
namespace {

using at::Tensor;

/// Registered or not.
std::vector<NamedTensor> all_tensors(const torch::nn::Module& module) {
  std::vector<NamedTensor> tensors = module_tensors(module);
  for (const Tensor& member : plain_members(module)) {
    tensors.push_back(
        {"member " + std::to_string(tensors.size()), member, TensorKind::kUnregistered});
  }
  return tensors;
}

/// Casts registered tensors; what shares their storage follows, and goes on to share it.
void cast_floating(const torch::nn::Module& module, const DtypeOf& dtype_of) {
  std::map<const c10::StorageImpl*, std::pair<c10::Storage, Tensor>> cast_storages;
  for (NamedTensor& entry : all_tensors(module)) {
    const at::ScalarType built = entry.tensor.scalar_type();
    if (!at::isFloatingType(built)) continue;
    const c10::Storage storage = entry.tensor.storage();
    auto found = cast_storages.find(storage.unsafeGetStorageImpl());
    if (found == cast_storages.end()) {
      if (entry.kind == TensorKind::kUnregistered) continue;
      const at::ScalarType dtype = dtype_of(entry.name, built);
      if (dtype == built) continue;
      const int64_t elements = static_cast<int64_t>(storage.nbytes()) / entry.tensor.element_size();
      const Tensor whole =
          torch::empty({0}, entry.tensor.options()).set_(storage, 0, {elements}, {1});
      found = cast_storages
                  .emplace(storage.unsafeGetStorageImpl(), std::make_pair(storage, whole.to(dtype)))
                  .first;
    }
    Tensor view = found->second.second.as_strided(entry.tensor.sizes(), entry.tensor.strides(),
                                                  entry.tensor.storage_offset());
    view._set_neg(entry.tensor.is_neg());
    entry.tensor.set_data(view);
  }
}

void for_each_byte(const Tensor& tensor, const std::function<void(size_t)>& visit) {
  const auto element = static_cast<size_t>(tensor.element_size());
  std::function<void(int64_t, int64_t)> walk = [&](int64_t dim, int64_t offset) {
    if (dim == tensor.dim()) {
      for (size_t i = 0; i < element; ++i) visit(static_cast<size_t>(offset) * element + i);
      return;
    }
    for (int64_t i = 0; i < tensor.size(dim); ++i) walk(dim + 1, offset + i * tensor.stride(dim));
  };
  walk(0, tensor.storage_offset());
}

/// copy_ refuses a tensor whose elements share memory, and between float and half forgets the sign
/// of a lazy negative.
void copy_into(Tensor to, Tensor from) {
  for (int64_t dim = 0; dim < to.dim(); ++dim) {
    if (to.stride(dim) == 0 && to.size(dim) > 1) {
      to = to.narrow(dim, 0, 1);
      from = from.narrow(dim, 0, 1);
    }
  }
  to.copy_(from.to(to.scalar_type()));
}

using BytesByStorage = std::map<const c10::StorageImpl*, std::vector<bool>>;

bool covers(const BytesByStorage& filled, const Tensor& tensor) {
  const auto found = filled.find(tensor.storage().unsafeGetStorageImpl());
  if (found == filled.end() || tensor.numel() == 0) return false;
  bool all = true;
  for_each_byte(tensor, [&](size_t byte) { all = all && found->second.at(byte); });
  return all;
}

std::vector<size_t> sharing(const std::vector<NamedTensor>& tensors, bool of_objects) {
  std::map<const void*, size_t> first;
  std::vector<size_t> result;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = tensors[i].tensor;
    const void* what = of_objects ? static_cast<const void*>(tensor.unsafeGetTensorImpl())
                                  : tensor.storage().unsafeGetStorageImpl();
    result.push_back(first.try_emplace(what, i).first->second);
  }
  return result;
}

/// In logical order, whatever the layout.
Tensor elements(const Tensor& tensor) {
  return tensor.detach().resolve_conj().resolve_neg().clone(at::MemoryFormat::Contiguous);
}

std::string difference(const NamedTensor& got, const NamedTensor& want, bool cast) {
  if (got.name != want.name || got.kind != want.kind) return "is in the place of " + want.name;
  const Tensor& a = got.tensor;
  const Tensor& b = want.tensor;
  if (a.device() != b.device()) return "is on " + a.device().str();
  if (a.requires_grad() != b.requires_grad()) return "requires_grad";
  if (a.is_leaf() != b.is_leaf()) return "is_leaf";
  if (const auto same = bit_equal(elements(a), elements(b)); !same) {
    std::ostringstream text;
    text << same.message() << ": " << a.flatten().slice(0, 0, 12) << "for "
         << b.flatten().slice(0, 0, 12);
    return text.str();
  }
  const bool layout_kept = !cast || b.is_non_overlapping_and_dense();
  if (layout_kept && a.strides() != b.strides()) return "strides";
  if (!cast && a.storage_offset() != b.storage_offset()) return "storage_offset";
  if (a.is_conj() != b.is_conj() || a.is_neg() != b.is_neg()) return "is_conj or is_neg";
  return "";
}

}  // namespace

ExpectedFakeScore expect_fake_score(const ModulePlan& plan, const Checkpoint& checkpoint,
                                    const DtypeOf& dtype_of, uint64_t seed) {
  ExpectedFakeScore expected;
  {
    MetaInitOptions init;
    init.seed = seed;
    const detail::SeededEagerGuard seeds(init);
    expected.module = build_planned(plan);
  }
  const torch::NoGradGuard no_grad;
  cast_floating(*expected.module, dtype_of);
  BytesByStorage filled;
  for (const auto& [name, value] : checkpoint) expected.unexpected.insert(name);
  for (NamedTensor& entry : module_tensors(*expected.module)) {
    if (entry.kind == TensorKind::kParameter &&
        (at::isFloatingType(entry.tensor.scalar_type()) || entry.tensor.is_complex())) {
      entry.tensor.set_requires_grad(true);
    }
    const auto found = checkpoint.find(entry.name);
    if (found == checkpoint.end() || entry.kind == TensorKind::kNonPersistentBuffer) continue;
    expected.unexpected.erase(entry.name);
    if (found->second.scalar_type() != entry.tensor.scalar_type()) expected.cast.insert(entry.name);
    copy_into(entry.tensor.detach(), found->second);
    auto& bytes = filled[entry.tensor.storage().unsafeGetStorageImpl()];
    bytes.resize(entry.tensor.storage().nbytes());
    for_each_byte(entry.tensor, [&](size_t byte) { bytes.at(byte) = true; });
  }
  for (const NamedTensor& entry : module_tensors(*expected.module)) {
    const bool persistent = entry.kind != TensorKind::kNonPersistentBuffer;
    if (persistent && !checkpoint.contains(entry.name) && !covers(filled, entry.tensor)) {
      expected.missing.insert(entry.name);
    }
  }
  return expected;
}

std::string difference(const torch::nn::Module& got, const torch::nn::Module& want, bool cast) {
  const auto a = all_tensors(got);
  const auto b = all_tensors(want);
  if (a.size() != b.size()) return "another number of tensors";
  for (size_t i = 0; i < a.size(); ++i) {
    const std::string text = difference(a[i], b[i], cast);
    if (!text.empty()) return a[i].name + ": " + text;
  }
  for (const bool of_objects : {false, true}) {
    if (sharing(a, of_objects) != sharing(b, of_objects)) {
      return of_objects ? "other names are one tensor object" : "other tensors share storage";
    }
  }
  for (const auto& part : got.modules()) {
    if (!part->is_training()) return "is not in training mode";
  }
  return "";
}

}  // namespace fakescore::testing
