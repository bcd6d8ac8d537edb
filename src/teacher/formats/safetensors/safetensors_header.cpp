#include "teacher/formats/safetensors/safetensors_header.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "teacher/file/file_text.hpp"
#include "teacher/file/json_events.hpp"
#include "teacher/file/read_budget.hpp"
#include "teacher/file/teacher_error.hpp"
#include "tensor/row_major.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kMetadataKey = "__metadata__";
/// What an entry takes up to the teacher's list of tensors, its vectors' spare room included,
/// beside its name and its sizes, of which there are several copies each.
constexpr uint64_t kEntryMemory = 1600;
constexpr uint64_t kEntryNameCopies = 8;
constexpr uint64_t kSizeMemory = 96;
constexpr uint64_t kMetadataMemory = 160;
constexpr const char* kManyEntries = "describes more tensors than its header has room for";

uint64_t header_length(std::span<const std::byte> file, const std::filesystem::path& path) {
  if (file.size() < kSafetensorsLengthBytes) {
    throw_teacher_error(path, "",
                        "is truncated: " + std::to_string(file.size()) +
                            " bytes, too short for a safetensors header");
  }
  uint64_t length = 0;  // little-endian, as every machine LibTorch runs on
  std::memcpy(&length, file.data(), kSafetensorsLengthBytes);
  if (length > kMaxSafetensorsHeaderBytes || length > file.size() - kSafetensorsLengthBytes) {
    throw_teacher_error(path, "",
                        "header length " + std::to_string(length) + " does not fit: the file has " +
                            std::to_string(file.size()) + " bytes and a header at most " +
                            std::to_string(kMaxSafetensorsHeaderBytes));
  }
  return length;
}

/// A list of counts in words, cut where it is long.
std::string describe_counts(const std::vector<uint64_t>& counts) {
  constexpr size_t kShown = 16;
  std::string text = "[";
  for (size_t i = 0; i < std::min(counts.size(), kShown); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(counts[i]);
  }
  return text + (counts.size() > kShown ? ", ...]" : "]");
}

/// What the header says of one tensor.
struct RawEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<uint64_t>> shape;
  std::optional<std::vector<uint64_t>> offsets;
};

/// Makes tensors of what the header says, and checks each by itself.
class TensorMaker {
 public:
  /// `data` is what follows the header in the file.
  TensorMaker(std::span<const std::byte> data, const std::filesystem::path& path)
      : data_(data), path_(path) {}

  StoredTensor make(RawEntry raw) const {
    if (!raw.dtype || !raw.shape || !raw.offsets) {
      fail(raw, "its header entry lacks dtype, shape or data_offsets");
    }
    const auto dtype = safetensors_dtype(*raw.dtype);
    if (!dtype) {
      throw_teacher_error(path_, raw.name, "unknown dtype " + shown(*raw.dtype),
                          "save it in a dtype that LibTorch has");
    }
    const auto [begin, end] = offsets_of(raw);
    StoredTensor tensor;
    tensor.dtype = *dtype;
    tensor.sizes = sizes_of(raw, *dtype);
    tensor.memory = data_.subspan(begin, end - begin);
    if (const uint64_t bytes = bytes_of(raw, tensor); bytes != tensor.memory.size()) {
      fail(raw, "shape " + describe_counts(*raw.shape) + " of " + *raw.dtype + " needs " +
                    std::to_string(bytes) + " bytes, data_offsets " +
                    describe_counts(*raw.offsets) + " give " + std::to_string(end - begin));
    }
    tensor.name = std::move(raw.name);
    tensor.strides = row_major_strides(tensor.sizes).value();  // overflows are refused by now
    return tensor;
  }

 private:
  std::pair<uint64_t, uint64_t> offsets_of(const RawEntry& raw) const {
    if (raw.offsets->size() != 2) fail(raw, "data_offsets are not two offsets");
    const uint64_t begin = raw.offsets->front();
    const uint64_t end = raw.offsets->back();
    if (begin > end || end > data_.size()) {
      fail(raw, "data_offsets " + describe_counts(*raw.offsets) + " lie outside the file's " +
                    std::to_string(data_.size()) + " data bytes: truncated or hostile");
    }
    return {begin, end};
  }

  /// Those of LibTorch, which counts pairs where the format counts elements of half a byte.
  std::vector<int64_t> sizes_of(const RawEntry& raw, at::ScalarType dtype) const {
    std::vector<uint64_t> shape = *raw.shape;
    if (holds_pairs(dtype)) {
      if (shape.empty() || shape.back() % 2 != 0) {
        fail(raw, "shape " + describe_counts(shape) + " of " + *raw.dtype +
                      " does not end with an even size: LibTorch holds such elements in pairs");
      }
      shape.back() /= 2;
    }
    return {shape.begin(), shape.end()};
  }

  /// A tensor without elements has strides nevertheless, which must not overflow either.
  uint64_t bytes_of(const RawEntry& raw, const StoredTensor& tensor) const {
    const auto bytes = row_major_bytes(tensor.sizes, c10::elementSize(tensor.dtype));
    if (!bytes) fail(raw, "shape overflows: " + describe_counts(*raw.shape));
    return std::count(tensor.sizes.begin(), tensor.sizes.end(), 0) > 0 ? 0 : *bytes;
  }

  [[noreturn]] void fail(const RawEntry& raw, const std::string& message) const {
    throw_teacher_error(path_, raw.name, message);
  }

  std::span<const std::byte> data_;
  const std::filesystem::path& path_;
};

/// Collects tensors and metadata from the header's JSON.
class HeaderListener : public JsonListener {
 public:
  HeaderListener(SafetensorsHeader& header, const TensorMaker& maker, ReadBudget& budget)
      : header_(header), maker_(maker), budget_(budget), path_(budget.file()) {}

  void begin_object(size_t depth) override {
    if (depth == 1 && !in_metadata_) {
      in_entry_ = true;
      budget_.charge_memory(kEntryMemory + kEntryNameCopies * raw_.name.size(), kManyEntries);
    } else if (depth > 0 && !(depth == 1 && in_metadata_)) {
      other(depth);
    }
  }

  void begin_array(size_t depth) override {
    if (depth == 2 && in_entry_ && field_ == Field::kShape) {
      numbers_ = &raw_.shape.emplace();
    } else if (depth == 2 && in_entry_ && field_ == Field::kOffsets) {
      numbers_ = &raw_.offsets.emplace();
    } else {
      other(depth);
    }
  }

  void end(size_t depth) override {
    if (depth == 2) numbers_ = nullptr;
    if (depth != 1) return;
    if (in_entry_) header_.tensors.push_back(maker_.make(std::exchange(raw_, {})));
    in_entry_ = false;
    in_metadata_ = false;
  }

  void key(size_t depth, std::string& name) override {
    if (depth == 1) {
      in_metadata_ = name == kMetadataKey;
      if (in_metadata_ && std::exchange(has_metadata_, true)) refuse_twice(name);
      raw_.name = std::move(name);
    } else if (in_metadata_) {
      metadata_key_ = std::move(name);
    } else if (depth == 2) {
      choose_field(name);
    }
  }

  void text(size_t depth, std::string& value) override {
    if (in_metadata_ && depth == 2) {
      budget_.charge_memory(kMetadataMemory + 2 * (metadata_key_.size() + value.size()),
                            "says more about itself than its header has room for");
      header_.metadata.insert_or_assign(std::move(metadata_key_), std::move(value));
    } else if (depth == 2 && field_ == Field::kDtype) {
      raw_.dtype = std::move(value);
    } else {
      other(depth);
    }
  }

  void count(size_t depth, uint64_t value) override {
    if (depth != 3 || numbers_ == nullptr) return other(depth);
    if (value > static_cast<uint64_t>(INT64_MAX) && field_ == Field::kShape) {
      throw_teacher_error(path_, raw_.name, "shape overflows: " + std::to_string(value));
    }
    budget_.charge_memory(kSizeMemory, kManyEntries);
    numbers_->push_back(value);
  }

  void null(size_t depth) override {
    if (!in_metadata_ || depth != 1) return other(depth);
    in_metadata_ = false;
  }

  void other(size_t depth) override {
    if (depth == 0) throw_teacher_error(path_, "", "header is not a JSON object");
    if (in_metadata_) {
      throw_teacher_error(path_, "", std::string(kMetadataKey) + " does not map texts to texts");
    }
    if (depth == 1) refuse("its header entry lacks dtype, shape or data_offsets");
    switch (field_) {
      case Field::kDtype:
        refuse("its header entry lacks dtype, shape or data_offsets");
      case Field::kShape:
        refuse("shape is not a list of sizes");
      case Field::kOffsets:
        refuse("data_offsets are not two offsets");
      case Field::kUnknown:
        return;  // whatever it holds
    }
  }

 private:
  enum class Field { kUnknown, kDtype, kShape, kOffsets };

  void choose_field(const std::string& name) {
    field_ = name == "dtype"          ? Field::kDtype
             : name == "shape"        ? Field::kShape
             : name == "data_offsets" ? Field::kOffsets
                                      : Field::kUnknown;
    const bool is_known = (field_ == Field::kDtype && raw_.dtype) ||
                          (field_ == Field::kShape && raw_.shape) ||
                          (field_ == Field::kOffsets && raw_.offsets);
    if (is_known) refuse("header entry has " + name + " twice");
  }

  [[noreturn]] void refuse_twice(const std::string& name) const {
    throw_teacher_error(path_, "", name + " is in the header twice");
  }

  [[noreturn]] void refuse(const std::string& message) const {
    throw_teacher_error(path_, raw_.name, message);
  }

  SafetensorsHeader& header_;
  TensorMaker maker_;
  ReadBudget& budget_;
  const std::filesystem::path& path_;
  RawEntry raw_;
  Field field_ = Field::kUnknown;
  std::vector<uint64_t>* numbers_ = nullptr;  ///< of the list that is being read
  std::string metadata_key_;
  bool has_metadata_ = false;
  bool in_metadata_ = false;
  bool in_entry_ = false;
};

/// `data` is what follows the header, and `tensors` are in its order.
void check_coverage(const std::vector<StoredTensor>& tensors, std::span<const std::byte> data,
                    const std::filesystem::path& path) {
  const std::byte* expected = data.data();
  for (const StoredTensor& tensor : tensors) {
    if (tensor.memory.data() < expected) {
      throw_teacher_error(path, tensor.name, "overlaps the tensor before it in the file");
    }
    if (tensor.memory.data() > expected) {
      throw_teacher_error(path, tensor.name, "leaves a hole after the tensor before it");
    }
    expected += tensor.memory.size();
  }
  if (const auto rest = data.data() + data.size() - expected; rest != 0) {
    throw_teacher_error(path, "", std::to_string(rest) + " bytes at the end belong to no tensor");
  }
}

/// Of a name that the header holds twice, safetensors keeps the last alone.
void refuse_repeated_names(const std::vector<StoredTensor>& tensors,
                           const std::filesystem::path& path) {
  const std::string* twice = find_repeated_name(tensors);
  if (twice != nullptr) throw_teacher_error(path, *twice, "is in the header twice");
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::filesystem::path& path) {
  const uint64_t length = header_length(file, path);
  SafetensorsHeader header;
  header.bytes = kSafetensorsLengthBytes + length;
  const auto data = file.subspan(header.bytes);
  ReadBudget budget(path, header.bytes);
  HeaderListener listener(header, {data, path}, budget);
  read_json({reinterpret_cast<const char*>(file.data()) + kSafetensorsLengthBytes, length}, path,
            "header", listener);
  refuse_repeated_names(header.tensors, path);
  std::sort(header.tensors.begin(), header.tensors.end(), lies_before);
  check_coverage(header.tensors, data, path);
  return header;
}

}  // namespace fakescore::detail
