#pragma once

#include <map>
#include <optional>
#include <string>

#include "teacher/file/read_budget.hpp"
#include "teacher/file/stored_tensor.hpp"
#include "teacher/formats/pickle/read_pickle.hpp"
#include "teacher/formats/torch_file/torch_dicts.hpp"
#include "teacher/formats/torch_file/torch_records.hpp"
#include "teacher/formats/torch_file/torch_storages.hpp"

namespace fakescore::detail {

/// The tensors of one archive, each looked at once whatever number of names it has. Use from one
/// thread.
class TorchTensors {
 public:
  /// All of them must live as long.
  TorchTensors(const Pickle& pickle, const TorchRecords& records, ReadBudget& budget);

  /// Whether a value is meant to be a tensor, readable or not.
  static bool is_tensor(const PickleValue& value);

  /// The tensor that `value` stands for, checked against the archive but not touched; nullopt where
  /// it stands for something else. `name` is for messages. Throws TeacherError for a tensor of a
  /// kind that cannot be read (quantized, sparse, on the meta device, a subclass), for one that
  /// does not fit its storage, and where torch.load might give another value.
  std::optional<StoredTensor> find(const PickleValue& value, const std::string& name);

  TorchDicts& dicts() noexcept { return dicts_; }

 private:
  friend class TorchTensorFinder;

  bool overwrites_elements(const PickleObject& object);

  const TorchRecords& records_;
  ReadBudget& budget_;
  TorchDicts dicts_;
  TorchStorages storages_;
  /// Whether torch would change elements after they were read, which others may share.
  bool has_overwritten_ = false;
  std::map<const PickleObject*, StoredTensor> known_;
};

}  // namespace fakescore::detail
