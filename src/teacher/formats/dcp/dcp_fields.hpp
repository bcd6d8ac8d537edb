#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

inline constexpr std::string_view kDcpMetadata = "torch.distributed.checkpoint.metadata.Metadata";
inline constexpr std::string_view kDcpTensor =
    "torch.distributed.checkpoint.metadata.TensorStorageMetadata";
inline constexpr std::string_view kDcpBytes =
    "torch.distributed.checkpoint.metadata.BytesStorageMetadata";
inline constexpr std::string_view kDcpChunk =
    "torch.distributed.checkpoint.metadata.ChunkStorageMetadata";
inline constexpr std::string_view kDcpProperties =
    "torch.distributed.checkpoint.metadata.TensorProperties";
inline constexpr std::string_view kDcpIndex = "torch.distributed.checkpoint.metadata.MetadataIndex";
inline constexpr std::string_view kDcpStorageInfo =
    "torch.distributed.checkpoint.filesystem._StorageInfo";
inline constexpr std::string_view kDcpSize = "torch.Size";

/// Looks into the dataclasses that torch.distributed.checkpoint pickles: objects whose state maps
/// their fields' names. `tensor` is for messages. Every look is charged.
class DcpFields {
 public:
  explicit DcpFields(ReadBudget& budget) : budget_(budget) {}

  /// The object that a value is; throws TeacherError where it is none of that class.
  const PickleObject& object(const PickleValue& value, std::string_view callable,
                             std::string_view tensor) const;
  /// The field's value, the last that was set; null where there is none.
  const PickleValue* find(const PickleObject& object, std::string_view name);
  /// The same; throws TeacherError where there is none.
  const PickleValue& get(const PickleObject& object, std::string_view name,
                         std::string_view tensor);
  /// The numbers of a torch.Size. Throws TeacherError where they are none or negative.
  std::vector<int64_t> sizes(const PickleValue& value, std::string_view tensor);

  [[noreturn]] void fail(
      std::string_view tensor, const std::string& message,
      const std::string& remedy = "check that the file is whole and is what was meant") const;

 private:
  ReadBudget& budget_;
};

}  // namespace fakescore::detail
