#include "meta/tape.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "error/wire.hpp"
#include "fakescore/error.hpp"

namespace fakescore {
namespace detail {

void refuse(const char* phase, const std::string& subject, std::string message,
            std::string remedy) {
  throw_error(
      ErrorInfo{ErrorCode::kBuild, -1, phase, subject, std::move(message), std::move(remedy)});
}

StorageImpl* storage_of(const at::Tensor& tensor, const std::string& op) {
  const bool plain = tensor.layout() == c10::kStrided && !tensor.is_quantized() &&
                     !tensor.is_nested() && tensor.has_storage();
  if (!plain) {
    refuse("build", op, "uses or makes a sparse, quantized or nested tensor",
           "make such tensors after meta construction");
  }
  return tensor.storage().unsafeGetStorageImpl();
}

at::Tensor shallow_copy(const at::Tensor& tensor) {
  return at::Tensor(
      tensor.unsafeGetTensorImpl()->shallow_copy_and_detach(c10::VariableVersion(0), true));
}

}  // namespace detail

void InitTape::Impl::append(detail::Entry entry) {
  const size_t index = entries.size();
  for (detail::StorageImpl* storage : entry.writes) {
    std::vector<size_t>& list = writers[storage];
    if (list.empty() || list.back() != index) list.push_back(index);
  }
  if (entry.random && seeds.mode() == RandomMode::kSequential) {
    segments[entry.random->segment].entries.push_back(index);
  }
  entries.push_back(std::move(entry));
}

void InitTape::Impl::forget_dead_tensors() {
  live.erase(std::remove_if(live.begin(), live.end(),
                            [](const detail::LiveTensor& item) { return item.tensor.expired(); }),
             live.end());
}

void InitTape::Impl::note_live(const at::Tensor& tensor) {
  // Expired entries hold the memory of their tensor objects: a builder with many temporaries would
  // otherwise make the list grow without end.
  if (live.size() >= live_limit_) {
    forget_dead_tensors();
    live_limit_ = std::max(live_limit_, 2 * live.size());
  }
  live.push_back({c10::weak_intrusive_ptr<c10::TensorImpl>(tensor.getIntrusivePtr()),
                  tensor.storage().unsafeGetStorageImpl(), std::nullopt});
}

void InitTape::Impl::seal() {
  forget_dead_tensors();
  for (size_t i = 0; i < live.size(); ++i) {
    const auto impl = live[i].tensor.lock();
    if (!impl || !impl->is_meta()) continue;
    const at::Tensor tensor(impl);
    if (!tensor.is_inference()) live[i].version = static_cast<uint32_t>(tensor._version());
    // set_data() and set_() may have given it another storage since it was made.
    live[i].storage = tensor.storage().unsafeGetStorageImpl();
    live_by_storage[live[i].storage].push_back(i);
  }
  sealed = true;
}

void InitTape::Impl::check_unwritten(detail::StorageImpl* storage) const {
  const auto found = live_by_storage.find(storage);
  if (found == live_by_storage.end()) return;
  for (const size_t index : found->second) {
    const detail::LiveTensor& item = live[index];
    const auto impl = item.tensor.lock();
    if (!impl || !item.version || !impl->has_storage()) continue;
    // A tensor that was materialised has left the tape.
    if (impl->unsafe_storage().unsafeGetStorageImpl() != storage) continue;
    if (impl->version_counter().current_version() != *item.version) {
      detail::refuse("replay", "in-place op",
                     "a meta tensor was written to after the MetaInitGuard had ended, so the write "
                     "was not recorded",
                     "write to it under the guard, or after it was made real");
    }
  }
}

std::optional<c10::Storage> InitTape::Impl::finished_storage(detail::StorageImpl* storage) const {
  const auto found = finished.find(storage);
  if (found == finished.end()) return std::nullopt;
  auto impl = found->second.lock();
  if (!impl) return std::nullopt;
  return c10::Storage(std::move(impl));
}

InitTape::InitTape(const MetaInitOptions& options) : impl_(std::make_unique<Impl>(options)) {}

InitTape::~InitTape() = default;

bool InitTape::knows(const at::Tensor& tensor) const {
  return tensor.is_meta() && tensor.has_storage() &&
         impl_->knows(tensor.storage().unsafeGetStorageImpl());
}

std::vector<TensorUse> InitTape::uses_since(const std::vector<at::Tensor>& tensors,
                                            size_t since) const {
  std::unordered_map<const detail::StorageImpl*, TensorUse> uses;
  for (size_t i = since; i < impl_->entries.size(); ++i) {
    const detail::Entry& entry = impl_->entries[i];
    for (const detail::StorageImpl* storage : entry.reads)
      uses.try_emplace(storage, TensorUse::kRead);
    for (const detail::StorageImpl* storage : entry.writes)
      uses.insert_or_assign(storage, TensorUse::kWritten);
  }
  std::vector<TensorUse> result;
  result.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) {
    const auto found = uses.find(detail::storage_of(tensor, "uses_since"));
    result.push_back(found == uses.end() ? TensorUse::kNone : found->second);
  }
  return result;
}

void InitTape::mark_unknown(const std::string& name, const at::Tensor& tensor, size_t since) {
  impl_->unknown.insert_or_assign(detail::storage_of(tensor, name),
                                  detail::UnknownValue{name, since});
}

std::string InitTape::random_state() const {
  std::vector<std::string> states;
  for (const detail::DrawSegment& segment : impl_->segments) {
    const at::Tensor state = segment.first_state.contiguous();
    states.emplace_back(static_cast<const char*>(state.const_data_ptr()), state.nbytes());
  }
  return detail::to_wire(impl_->seeds.base(), states);
}

void InitTape::set_random_state(const std::string& state) {
  auto [base, states] =
      detail::from_wire<uint64_t, std::vector<std::string>>(state, "a tape's random state");
  bool fits = states.size() == impl_->segments.size();
  for (size_t i = 0; fits && i < states.size(); ++i) {
    fits = states[i].size() == impl_->segments[i].first_state.nbytes();
  }
  if (!fits) {
    throw MismatchError("random state",
                        "is that of a tape with " + std::to_string(states.size()) +
                            " runs of draws, and not " + std::to_string(impl_->segments.size()),
                        "run the same builder on every rank, with generators of one kind");
  }
  impl_->seeds.set_base(base);
  for (size_t i = 0; i < states.size(); ++i) {
    at::Tensor first = at::empty_like(impl_->segments[i].first_state);
    std::memcpy(first.mutable_data_ptr(), states[i].data(), states[i].size());
    impl_->segments[i].first_state = first;
  }
}

size_t InitTape::size() const noexcept { return impl_->entries.size(); }

std::vector<at::Tensor> InitTape::live_tensors() const {
  std::vector<at::Tensor> tensors;
  std::unordered_set<c10::TensorImpl*> seen;
  for (const detail::LiveTensor& item : impl_->live) {
    auto impl = item.tensor.lock();
    if (!impl || !seen.insert(impl.get()).second) continue;
    at::Tensor tensor(std::move(impl));
    if (tensor.is_meta()) tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace fakescore
