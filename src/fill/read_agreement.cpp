#include "fill/read_agreement.hpp"

#include "comm/control/agreement.hpp"
#include "comm/host.hpp"
#include "error/wire.hpp"
#include "fakescore/error.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fill/replicas.hpp"
#include "fill/shards.hpp"
#include "tensor/digest_wire.hpp"

namespace fakescore {

auto wire_fields(TeacherFile& file) {
  return std::tie(file.path, file.bytes, file.modified_ns, file.header);
}

}  // namespace fakescore

namespace fakescore::detail {
namespace {

constexpr const char* kAgreementPhase = "plan";
/// The root's word instead of its files: what describes files begins otherwise.
constexpr const char* kInShards = "in shards";

/// Of names, dtypes and sizes, and which tensors are in shards, in order: key maps, which are code,
/// may differ between ranks.
Digest digest_of_names(const Teacher& teacher) {
  std::string text;
  for (const TeacherTensor& tensor : teacher.tensors()) {
    text.append(tensor.name).append(1, '\0').append(c10::toString(tensor.dtype));
    for (const int64_t size : tensor.sizes) text.append(1, ' ').append(std::to_string(size));
    text.append(1, tensor.shard ? 's' : '\0');
  }
  return digest_bytes(text.data(), text.size());
}

/// What the root tells the others of what it has opened; empty where there are no files.
std::string describe_files(const Teacher& teacher) {
  const auto files = teacher.files();
  return files.empty() ? "" : to_wire(digest_of_names(teacher), files);
}

/// The first way in which one of this rank's files is not the root's; empty if none.
std::string first_difference(const TeacherFile& file, const TeacherFile& of_root) {
  const std::string differs =
      "sees " + file.path + ", which is not the root's " + of_root.path + ": ";
  if (file.bytes != of_root.bytes) return differs + "its size differs";
  if (file.modified_ns != of_root.modified_ns) return differs + "its modification time differs";
  if (file.header != of_root.header) return differs + "its header differs";
  return "";
}

/// The first way in which what this rank has opened is not what the root has; empty if none.
std::string first_difference(const Teacher& teacher, const std::string& described_by_root) {
  const auto [root_names, root_files] =
      from_wire<Digest, std::vector<TeacherFile>>(described_by_root, "the root's files");
  const auto files = teacher.files();
  if (files.size() != root_files.size()) {
    return "sees " + std::to_string(files.size()) + " files, but the root sees " +
           std::to_string(root_files.size());
  }
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string difference = first_difference(files[i], root_files[i]);
    if (!difference.empty()) return difference;
  }
  if (digest_of_names(teacher) == root_names) return "";
  return "sees the same files, but finds other names, sizes or dtypes of tensors in them than the "
         "root";
}

bool on_one_host(Communicator& communicator) {
  return are_on_one_host(communicator.compare(host_id(), kAgreementPhase));
}

}  // namespace

ReadAgreement::ReadAgreement(Communicator& communicator, const FillOptions& options,
                             at::Device device, const Manifest& target)
    : communicator_(communicator), options_(options) {
  if (options.read == TeacherRead::kRoot || communicator.world_size() == 1) {
    root_alone_ = true;
  } else {
    wanted_ = options.read == TeacherRead::kAuto ? choose(device, target) : options.read;
  }
}

TeacherRead ReadAgreement::choose(at::Device device, const Manifest& target) {
  const bool sharded = has_shards(target);
  if (!sharded && !device.is_cpu()) return TeacherRead::kInTurns;
  // One page cache gives each byte as often as it is asked for.
  if (on_one_host(communicator_)) return TeacherRead::kEveryRank;
  if (!sharded) return TeacherRead::kInTurns;
  if (!hosts_keep_the_same_parts(communicator_, target, kAgreementPhase)) {
    return TeacherRead::kEveryRank;
  }
  reason_ = "ranks of several hosts keep the same parts";
  return TeacherRead::kInTurns;
}

void ReadAgreement::try_open(const TeacherSource& source, std::unique_ptr<Teacher>& teacher) {
  if (is_root() || (root_alone_ && !source.in_shards())) return;
  try {
    teacher = source.open();
  } catch (...) {
    const ErrorInfo info =
        describe_current_exception(communicator_.rank(), kAgreementPhase, ErrorCode::kTeacher);
    problem_ = info.subject + ' ' + info.message;
  }
}

ReadDecision ReadAgreement::decide(const TeacherSource& source, std::unique_ptr<Teacher>& teacher) {
  std::string files;
  if (is_root() && source.in_shards()) {
    files = kInShards;
  } else if (is_root() && !root_alone_) {
    files = describe_files(*teacher);
  }
  files = communicator_.broadcast_message(files, options_.root, kAgreementPhase);
  if (files == kInShards) return each_gives_its_part(source, teacher);
  if (root_alone_) {
    if (!is_root()) teacher.reset();
    return {TeacherRead::kRoot, "", false};
  }
  RankReport first{options_.root, "has the teacher in memory"};
  if (!files.empty()) {
    if (problem_.empty()) problem_ = first_difference(*teacher, files);
    first = first_report(communicator_, kAgreementPhase, problem_);
  }
  if (first.rank < 0) return {wanted_, reason_, false};
  if (!is_root()) teacher.reset();
  const std::string reason = "rank " + std::to_string(first.rank) + ' ' + first.text;
  if (options_.read == TeacherRead::kAuto) return {TeacherRead::kRoot, reason, false};
  throw_error({ErrorCode::kTeacher, first.rank, kAgreementPhase, source.description(),
               "cannot be read by every rank: " + reason,
               "put the same files where every rank sees them, or let the root read alone "
               "(--read root)"});
}

ReadDecision ReadAgreement::each_gives_its_part(const TeacherSource& source,
                                                const std::unique_ptr<Teacher>& teacher) {
  if (problem_.empty() && (!teacher || !source.in_shards())) {
    problem_ = "has " + source.description() + ", which is not in shards";
  }
  const std::string own = teacher ? to_string(digest_of_names(*teacher)) : "";
  const std::string of_root = communicator_.broadcast_message(own, options_.root, kAgreementPhase);
  if (problem_.empty() && own != of_root) {
    problem_ = "has other names, whole sizes, dtypes or kinds of tensors than the root";
  }
  const RankReport first = first_report(communicator_, kAgreementPhase, problem_);
  const bool is_alone = communicator_.world_size() == 1;
  if (first.rank < 0) return {is_alone ? TeacherRead::kRoot : TeacherRead::kEveryRank, "", true};
  throw_error(
      {ErrorCode::kTeacher, first.rank, kAgreementPhase, source.description(),
       "is in shards on the root, but rank " + std::to_string(first.rank) + " " + first.text,
       "give every rank its own part of the same teacher"});
}

}  // namespace fakescore::detail
