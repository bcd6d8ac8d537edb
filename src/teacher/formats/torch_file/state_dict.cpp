#include "teacher/formats/torch_file/state_dict.hpp"

#include <utility>

#include "error/utf8.hpp"
#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/torch_file/foreign_search.hpp"
#include "teacher/formats/torch_file/state_dict_keys.hpp"
#include "teacher/formats/torch_file/torch_classes.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kTop = ".";
/// A dict that is shared is walked under each of its names.
constexpr const char* kLists = "lists more names than a model has";
/// Of a tensor, of each character of its name and of each dimension, in all the places that a
/// teacher and its readers keep.
constexpr uint64_t kListedBytes = 1024;
constexpr uint64_t kNameBytes = 8;
constexpr uint64_t kDimensionBytes = 48;
constexpr uint64_t kEntrySteps = 8;

class StateDictLister {
 public:
  explicit StateDictLister(const TorchArchive& archive)
      : archive_(archive),
        keys_(archive),
        foreign_(archive.pickle().arena->nodes(), archive.budget()) {}

  std::vector<StoredTensor> list(const std::string& key) {
    const PickleValue& chosen = choose(key);
    if (key != kTop) key_ = key;
    add("", chosen);
    if (const auto name = foreign_.find(chosen); !name.empty()) refuse_foreign("", name);
    const auto& foreign = archive_.pickle().foreign;
    if (key.empty() && foreign) refuse_foreign_global(*foreign, archive_.budget());
    if (tensors_.empty()) {
      throw_teacher_error(archive_.file(), "",
                          "holds no tensor" + (key.empty() ? "" : " under " + shown(key)),
                          empty_remedy());
    }
    check_names();
    return std::move(tensors_);
  }

 private:
  const PickleValue& choose(const std::string& key) {
    const PickleValue& top = archive_.object();
    if (!TorchDicts::is_dict(top)) {
      if (const auto name = foreign_.find(top); !name.empty()) refuse_foreign("", name);
      keys_.fail("holds " + describe(top) + ", not a state dict");
    }
    if (key == kTop) return top;
    if (key.empty()) {
      if (!archive_.is_torchscript()) check_is_state_dict(top);
      return top;
    }
    const PickleValue* found = keys_.find(top, key);
    if (found != nullptr) return *found;
    const PickleValue* other = keys_.other_value();
    keys_.fail("has no dict under the key " + shown(key) +
               (other == nullptr ? "" : ", but " + describe(*other)));
  }

  void check_is_state_dict(const PickleValue& top) {
    const auto& candidates = keys_.candidates();
    if (candidates.empty() && keys_.holds_tensor(top)) return;
    if (candidates.empty()) {
      refuse_foreign_in(top);
      keys_.fail("holds no tensor in its dicts");
    }
    keys_.fail("is not a state dict itself: dicts in it hold tensors, " +
               std::to_string(candidates.size()) + " of them");
  }

  void refuse_foreign_in(const PickleValue& top) {
    for (const auto& [key, value] : archive_.dicts().entries(top).entries) {
      if (const auto name = foreign_.find(*value); !name.empty()) {
        refuse_foreign(key_name(*key).value_or(""), name);
      }
    }
  }

  void add(const std::string& prefix, const PickleValue& value) {
    const TorchDictEntries& dict = archive_.dicts().entries(value);
    if (dict.odd_key != nullptr) refuse_key(prefix, *dict.odd_key);
    for (const auto& [key, child] : dict.entries) {
      archive_.budget().charge_work(kEntrySteps, kLists);
      const auto part = key_name(*key);
      if (!part) {
        check_no_foreign(prefix, *key);
        check_no_foreign(prefix, *child);
        continue;
      }
      archive_.budget().charge_text(prefix.size() + part->size(), kLists);
      const std::string name = prefix + *part;
      if (TorchTensors::is_tensor(*child)) {
        add_tensor(name, *child);
      } else if (TorchDicts::is_dict(*child)) {
        add(name + ".", *child);
        continue;
      }
      check_no_foreign(name, *child);
    }
  }

  void add_tensor(const std::string& name, const PickleValue& value) {
    if (!is_valid_utf8(name)) {
      throw_teacher_error(archive_.file(), name, "its name is not UTF-8");
    }
    auto tensor = archive_.find(value, name);
    archive_.budget().charge_memory(
        kListedBytes + kNameBytes * name.size() + kDimensionBytes * tensor->sizes.size(), kLists);
    tensor->name = name;
    tensors_.push_back(*std::move(tensor));
  }

  void check_names() const {
    const std::string* twice = find_repeated_name(tensors_);
    if (twice == nullptr) return;
    throw_teacher_error(archive_.file(), *twice, "is there twice",
                        "give the key of one of the dicts that hold it");
  }

  void check_no_foreign(const std::string& name, const PickleValue& value) {
    if (const auto found = foreign_.find(value); !found.empty()) refuse_foreign(name, found);
  }

  [[noreturn]] void refuse_foreign(const std::string& below, std::string_view foreign) const {
    const std::string name = key_ + (key_.empty() || below.empty() ? "" : ".") + below;
    throw_teacher_error(archive_.file(), "",
                        "holds " + shown(foreign) +
                            (name.empty() ? "" : " under the key " + shown(name)) +
                            ", which is neither a tensor nor a plain container",
                        remedy_for_object_class(foreign));
  }

  [[noreturn]] void refuse_key(const std::string& prefix, const PickleValue& key) {
    if (const auto found = foreign_.find(key); !found.empty()) refuse_foreign(prefix, found);
    throw_teacher_error(archive_.file(), "",
                        "has a key" + (prefix.empty() ? "" : " below " + shown(prefix)) +
                            " that is no name: " + describe(key),
                        "save a dict of names: torch.save(model.state_dict(), path)");
  }

  std::string empty_remedy() const {
    return archive_.is_torchscript()
               ? "a frozen TorchScript module has constants in place of weights: save it before "
                 "torch.jit.freeze"
               : "save a state dict: torch.save(model.state_dict(), path)";
  }

  static std::string describe(const PickleValue& value) {
    if (TorchTensors::is_tensor(value)) return "a tensor";
    if (value.is_long_integer()) return "an integer of more than 64 bits";
    if (value.object() != nullptr) return shown(value.object()->callable);
    if (value.global() != nullptr) return shown(value.global()->name);
    return value.list() != nullptr || value.tuple() != nullptr ? "a list" : "a plain value";
  }

  const TorchArchive& archive_;
  StateDictKeys keys_;
  std::string key_;  ///< of the chosen dict, for messages
  ForeignSearch foreign_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace

std::vector<StoredTensor> list_state_dict(const TorchArchive& archive, const std::string& key) {
  return StateDictLister(archive).list(key);
}

}  // namespace fakescore::detail
