#include "fill/part_in_file.hpp"

#include <utility>

#include "fill/shards.hpp"

namespace fakescore::detail {
namespace {

/// A stretch of a file's tensor.
class FilePart : public FileBytes {
 public:
  FilePart(std::shared_ptr<const FileBytes> whole, ByteRange part)
      : whole_(std::move(whole)), part_(part) {}
  std::span<const std::byte> memory() const override {
    return whole_->memory().subspan(part_.begin, part_.size());
  }
  void read(size_t begin, std::span<std::byte> to) const override {
    whole_->read(part_.begin + begin, to);
  }
  void forget(size_t begin, size_t bytes) const override {
    whole_->forget(part_.begin + begin, bytes);
  }

 private:
  std::shared_ptr<const FileBytes> whole_;
  ByteRange part_;
};

}  // namespace

std::shared_ptr<const FileBytes> part_in_file(const GroupPlan& group,
                                              const DescribedTarget& described, Teacher& teacher,
                                              const Shard& part) {
  const auto& fill = group.fills.front();
  const TensorSpec& spec = described.manifest.specs()[fill.spec];
  const auto stretch = stretch_of(part, c10::elementSize(spec.dtype));
  if (group.mode != FillMode::kInPlace || !stretch) return nullptr;
  auto bytes = teacher.file_bytes(fill.teacher);
  return bytes ? std::make_shared<FilePart>(std::move(bytes), *stretch) : nullptr;
}

}  // namespace fakescore::detail
