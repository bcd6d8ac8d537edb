#include "teacher/formats/dcp/sharded_tensor.hpp"

#include <algorithm>
#include <string>

#include "teacher/file/teacher_error.hpp"
#include "tensor/row_major.hpp"

namespace fakescore::detail {
namespace {

/// Of a box without elements, those of the box with at least one element along each dimension: its
/// strides must not overflow either.
uint64_t count_bytes(const ShardedTensor& tensor, const std::vector<int64_t>& sizes,
                     const std::filesystem::path& source) {
  const auto bytes = row_major_bytes(sizes, c10::elementSize(tensor.dtype));
  if (!bytes) throw_teacher_error(source, tensor.name, "its shape overflows or is negative");
  return *bytes;
}

/// Chunks without elements, and all but the first of those with the same box. Sorts by boxes.
void leave_out_needless(std::vector<TensorChunk>& chunks) {
  std::erase_if(chunks, [](const TensorChunk& chunk) { return !has_elements(chunk.box); });
  std::stable_sort(chunks.begin(), chunks.end(),
                   [](const auto& a, const auto& b) { return a.box < b.box; });
  const auto is_same = [](const auto& a, const auto& b) { return a.box == b.box; };
  chunks.erase(std::unique(chunks.begin(), chunks.end(), is_same), chunks.end());
}

}  // namespace

void check_chunks(ShardedTensor& tensor, const std::filesystem::path& source) {
  count_bytes(tensor, tensor.sizes, source);
  for (const TensorChunk& chunk : tensor.chunks) {
    if (!lies_within(chunk.box, tensor.sizes)) {
      throw_teacher_error(source, tensor.name, "has a chunk that lies outside of it");
    }
  }
  leave_out_needless(tensor.chunks);
  std::vector<Box> boxes;
  boxes.reserve(tensor.chunks.size());
  for (const TensorChunk& chunk : tensor.chunks) {
    const uint64_t bytes = count_bytes(tensor, chunk.box.sizes, source);
    if (chunk.place.length < bytes) {
      throw_teacher_error(source, tensor.name,
                          "has a chunk of " + std::to_string(bytes) + " bytes in an item of " +
                              std::to_string(chunk.place.length));
    }
    boxes.push_back(chunk.box);
  }
  const std::string fault = describe_cover_fault(tensor.sizes, boxes);
  if (!fault.empty()) {
    throw_teacher_error(source, tensor.name, fault,
                        "check that every rank's file of the save is there and whole");
  }
}

}  // namespace fakescore::detail
