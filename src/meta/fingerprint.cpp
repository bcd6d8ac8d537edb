#include <sstream>
#include <unordered_map>

#include "fakescore/tensor/digest.hpp"
#include "meta/ivalue_tensors.hpp"
#include "meta/tape.hpp"

namespace fakescore {
namespace {

/// Writes down what was recorded, with storages by the order in which they appear.
class Description {
 public:
  void add(const detail::Entry& entry) {
    const c10::OperatorName& name = entry.op.schema().operator_name();
    text_ << name.name << '.' << name.overload_name << ' ' << c10::toString(entry.default_dtype);
    for (const c10::IValue& argument : entry.arguments) add(argument);
    if (entry.random) {
      text_ << " draw " << entry.random->seed.count << ' ';
      if (entry.random->seed.own_base) text_ << *entry.random->seed.own_base;
      text_ << ' ' << entry.random->segment;
    }
    for (const at::Tensor& result : entry.results) add(result);
    text_ << '\n';
  }

  void add_unknown(detail::StorageImpl* storage, size_t since) {
    text_ << "unknown " << number_of(storage) << ' ' << since << '\n';
  }

  Digest digest() const {
    const std::string text = text_.str();
    return digest_bytes(text.data(), text.size());
  }

 private:
  void add(const c10::IValue& value) {
    text_ << ' ';
    if (value.isTensor()) {
      add(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) add(tensor);
    } else if (value.isList()) {
      for (const c10::IValue& item : value.toListRef()) add(item);
    } else if (value.isDouble()) {
      text_ << std::hexfloat << value.toDouble() << std::defaultfloat;
    } else if (!value.isGenerator()) {
      text_ << value;
    }
  }

  void add(const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    text_ << '(' << c10::toString(tensor.scalar_type()) << tensor.sizes() << ' ';
    if (tensor.is_meta()) {
      text_ << number_of(tensor.storage().unsafeGetStorageImpl()) << tensor.strides()
            << tensor.storage_offset() << tensor.is_conj() << tensor.is_neg();
    } else {
      text_ << to_string(digest_tensor(tensor));
    }
    text_ << ')';
  }

  size_t number_of(detail::StorageImpl* storage) {
    return numbers_.try_emplace(storage, numbers_.size()).first->second;
  }

  std::ostringstream text_;
  std::unordered_map<detail::StorageImpl*, size_t> numbers_;
};

}  // namespace

Digest InitTape::fingerprint() const {
  const MetaInitPause not_recorded;
  Description description;
  for (const detail::Entry& entry : impl_->entries) description.add(entry);
  // In the order of the entries: a map has none.
  for (const detail::Entry& entry : impl_->entries) {
    for (detail::StorageImpl* storage : entry.writes) {
      const auto found = impl_->unknown.find(storage);
      if (found != impl_->unknown.end()) description.add_unknown(storage, found->second.since);
    }
  }
  return description.digest();
}

}  // namespace fakescore
