#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"
#include "teacher/formats/torch_file/torch_records.hpp"

namespace fakescore::detail {

/// What a storage's persistent id says, and its bytes.
struct TorchStorage {
  at::ScalarType dtype;
  std::span<const std::byte> bytes;
};

/// The storages of one archive. torch.load makes a storage by the first id that names its record,
/// whatever later ones say: where they disagree, the record is refused. Use from one thread.
class TorchStorages {
 public:
  /// `ids` are all that the pickle names, in its order.
  TorchStorages(const std::deque<PickleValue>& ids, const TorchRecords& records,
                ReadBudget& budget);

  /// Throws TeacherError naming `tensor` where the id is none of a storage, where the archive does
  /// not hold it, and where others say that it is something else.
  TorchStorage find(const PickleValue& id, const std::string& tensor);

 private:
  /// ("storage", class, record, device, number of elements)
  struct Id {
    std::string_view type;
    std::string_view record;
    int64_t count = 0;
    std::optional<at::ScalarType> dtype;
  };
  struct Known {
    Id first;
    bool is_contradicted = false;
    std::optional<std::span<const std::byte>> bytes;  ///< once it was asked for
  };

  static std::optional<Id> read_id(const PickleValue& id);
  std::span<const std::byte> bytes_of(const Id& id, const std::string& tensor) const;

  const TorchRecords& records_;
  std::map<std::string_view, Known> known_;
};

}  // namespace fakescore::detail
