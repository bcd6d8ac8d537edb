#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/read_pickle.hpp"
#include "teacher/formats/torch_file/torch_records.hpp"
#include "teacher/formats/torch_file/torch_tensors.hpp"

namespace fakescore::detail {

/// One object as torch.save writes it since 1.6, or a TorchScript archive: a zip archive whose
/// record "data.pkl" is the object and whose records "data/0", ... are its tensors' storages.
/// Nothing of it is executed, and no tensor is touched before it is read. Use from one thread.
class TorchArchive {
 public:
  /// `bytes` is the whole archive, in memory or mapped, and must live as long as this and what it
  /// finds; `file` is for messages. Throws TeacherError: no such archive, a pickle that names
  /// anything but tensors and plain containers, unless that is kept, or tensors in big-endian
  /// order.
  TorchArchive(std::span<const std::byte> bytes, const std::filesystem::path& file,
               ForeignGlobals foreign = ForeignGlobals::kRefuse);
  TorchArchive(const TorchArchive&) = delete;
  TorchArchive& operator=(const TorchArchive&) = delete;

  /// The object. A tensor in it is what `find` says.
  const PickleValue& object() const noexcept { return pickle_.root; }
  const Pickle& pickle() const noexcept { return pickle_; }
  /// Whether TorchScript wrote it: the object is then a module.
  bool is_torchscript() const { return records_.has("constants.pkl"); }
  /// The tensor that a value of the object stands for; nullopt where it is something else. `name`
  /// is for messages: many names may stand for one tensor, which has none itself.
  std::optional<StoredTensor> find(const PickleValue& value, const std::string& name) const {
    return tensors_->find(value, name);
  }
  /// The dicts in the object, and what is left to look at them.
  TorchDicts& dicts() const noexcept { return tensors_->dicts(); }
  ReadBudget& budget() const noexcept { return *budget_; }

  Digest digest() const { return records_.digest(); }
  const std::filesystem::path& file() const noexcept { return budget_->file(); }

 private:
  std::unique_ptr<ReadBudget> budget_;
  TorchRecords records_;
  Pickle pickle_;
  std::unique_ptr<TorchTensors> tensors_;  ///< grows as it is asked
};

}  // namespace fakescore::detail
