#include "nccl/segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>

namespace fakescore::emulation {
namespace {

struct IdContents {
  uint64_t key;
  pid_t process;
  int file;
};
static_assert(sizeof(IdContents) <= sizeof(ncclUniqueId));

IdContents contents_of(const ncclUniqueId& id) {
  IdContents contents;
  std::memcpy(&contents, id.internal, sizeof contents);
  return contents;
}

/// The ids this process made whose memory others may still come for.
struct OpenIds {
  std::mutex mutex;
  std::map<uint64_t, int> files;
};

OpenIds& open_ids() {
  static auto* const ids = new OpenIds;
  return *ids;
}

Shared* map(int file) {
  void* const mapped = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  return mapped == MAP_FAILED ? nullptr : static_cast<Shared*>(mapped);
}

struct flock lock_of(int rank) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}

}  // namespace

std::optional<ncclUniqueId> Segment::create() {
  std::random_device random;
  IdContents contents{};
  contents.key = (uint64_t{random()} << 32 | random()) | 1;
  contents.process = ::getpid();
  contents.file = ::memfd_create("fakescore-nccl", MFD_CLOEXEC);
  if (contents.file < 0 || ::ftruncate(contents.file, sizeof(Shared)) != 0) return std::nullopt;
  Shared* const shared = map(contents.file);
  if (shared == nullptr) return std::nullopt;
  shared->key = contents.key;
  ::munmap(shared, sizeof(Shared));
  {
    const std::lock_guard<std::mutex> lock(open_ids().mutex);
    open_ids().files[contents.key] = contents.file;
  }
  ncclUniqueId id{};
  std::memcpy(id.internal, &contents, sizeof contents);
  return id;
}

std::optional<Segment> Segment::open(const ncclUniqueId& id) {
  const IdContents contents = contents_of(id);
  const std::string path =
      "/proc/" + std::to_string(contents.process) + "/fd/" + std::to_string(contents.file);
  // Opened anew even by the process that made it, since locks belong to what open() returns.
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  const off_t bytes = ::lseek(file, 0, SEEK_END);
  Shared* const shared = bytes == static_cast<off_t>(sizeof(Shared)) ? map(file) : nullptr;
  if (shared == nullptr || shared->key != contents.key) {
    if (shared != nullptr) ::munmap(shared, sizeof(Shared));
    ::close(file);
    return std::nullopt;
  }
  return Segment(file, shared);
}

void Segment::forget(const ncclUniqueId& id) {
  const std::lock_guard<std::mutex> lock(open_ids().mutex);
  const auto found = open_ids().files.find(contents_of(id).key);
  if (found == open_ids().files.end()) return;
  ::close(found->second);
  open_ids().files.erase(found);
}

Segment::Segment(Segment&& other) noexcept
    : file_(std::exchange(other.file_, -1)),
      shared_(std::exchange(other.shared_, nullptr)),
      claimed_(other.claimed_) {}

Segment::~Segment() {
  leave(Fate::kAborted);
  if (shared_ != nullptr) ::munmap(shared_, sizeof(Shared));
}

bool Segment::claim(int rank) {
  struct flock lock = lock_of(rank);
  if (::fcntl(file_, F_OFD_SETLK, &lock) != 0) return false;
  claimed_ = rank;
  return true;
}

void Segment::leave(Fate fate) {
  if (file_ < 0) return;
  if (claimed_ >= 0) shared_->ranks[claimed_].fate = fate;
  ::close(std::exchange(file_, -1));
}

Fate Segment::fate_of(int rank) const {
  const RankRecord& record = shared_->ranks[rank];
  if (!record.joined || file_ < 0) return Fate::kPresent;
  struct flock lock = lock_of(rank);
  const bool is_held = ::fcntl(file_, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
  // Asked after the lock: who left on purpose said so before it let go of the lock.
  const Fate said = record.fate;
  return is_held || said != Fate::kPresent ? said : Fate::kDied;
}

}  // namespace fakescore::emulation
