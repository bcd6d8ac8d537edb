#include "factory/read_agreement.hpp"

#include <nlohmann/json.hpp>
#include <optional>

#include "factory/host_memory.hpp"
#include "fakescore/core/digest.hpp"
#include "fakescore/core/error.hpp"

namespace fakescore::detail {
namespace {

using nlohmann::json;

constexpr const char* kPhase = "plan";

/// What the root tells the others of the files that it has opened.
std::string describe_files(const Teacher& teacher) {
  json files = json::array();
  for (const TeacherFile& file : teacher.files()) {
    files.push_back({file.path, file.bytes, file.modified_ns, to_string(file.header)});
  }
  std::string bytes;
  json::to_msgpack(json::array({host_id(), std::move(files)}), bytes);
  return bytes;
}

/// The first way in which the files that this rank has opened are not the root's; empty if none.
std::string first_difference(const json& root_files, const Teacher& teacher) {
  const auto files = teacher.files();
  if (files.size() != root_files.size()) {
    return "sees " + std::to_string(files.size()) + " files, the root " +
           std::to_string(root_files.size());
  }
  for (size_t i = 0; i < files.size(); ++i) {
    const json& root = root_files[i];
    const std::string differs = "sees " + files[i].path + ", which is not the root's " +
                                root.at(0).get<std::string>() + ": ";
    if (files[i].bytes != root.at(1).get<uint64_t>()) return differs + "its size differs";
    if (files[i].modified_ns != root.at(2).get<int64_t>()) {
      return differs + "its modification time differs";
    }
    if (to_string(files[i].header) != root.at(3).get<std::string>()) {
      return differs + "its header differs";
    }
  }
  return "";
}

/// Why this rank cannot read what the root reads; empty, and the teacher open, where it can.
std::string try_to_read(const std::string& from_root, const TeacherSource& source,
                        std::unique_ptr<Teacher>& teacher, TeacherRead wanted, int rank) {
  const json root = json::from_msgpack(from_root);
  const auto root_host = root.at(0).get<std::string>();
  if (wanted == TeacherRead::kAuto && (root_host.empty() || root_host != host_id())) {
    return "is on another host than the root";
  }
  try {
    if (!teacher) teacher = source.open();
  } catch (...) {
    const ErrorInfo info = describe_current_exception(rank, kPhase, ErrorCode::kTeacher);
    return info.subject + ' ' + info.message;
  }
  return first_difference(root.at(1), *teacher);
}

/// Known without asking anybody.
std::optional<ReadDecision> decide_alone(const Communicator& communicator,
                                         const MetaOptions& options, at::Device device) {
  if (options.read == TeacherRead::kRoot || communicator.world_size() == 1) return ReadDecision{};
  if (options.read == TeacherRead::kAuto && !device.is_cpu()) {
    return ReadDecision{TeacherRead::kRoot, "the fake score is on GPUs"};
  }
  return std::nullopt;
}

}  // namespace

ReadDecision agree_on_read(Communicator& communicator, const TeacherSource& source,
                           std::unique_ptr<Teacher>& teacher, const MetaOptions& options,
                           at::Device device) {
  if (const auto decision = decide_alone(communicator, options, device)) return *decision;
  const bool is_root = communicator.rank() == options.root;
  const bool has_files = is_root && !teacher->files().empty();
  const std::string from_root = communicator.broadcast_message(
      has_files ? describe_files(*teacher) : "", options.root, kPhase);
  std::string problem = "has the teacher in memory";
  if (!from_root.empty()) {
    problem = try_to_read(from_root, source, teacher, options.read, communicator.rank());
  }
  const auto problems = communicator.all_gather(problem, kPhase);
  // What the root says concerns all ranks, so its problem comes first.
  for (size_t i = 0; i < problems.size(); ++i) {
    const size_t rank = (static_cast<size_t>(options.root) + i) % problems.size();
    if (problems[rank].empty()) continue;
    if (!is_root) teacher.reset();
    const std::string reason = "rank " + std::to_string(rank) + ' ' + problems[rank];
    if (options.read == TeacherRead::kAuto) return {TeacherRead::kRoot, reason};
    throw_error({ErrorCode::kTeacher, static_cast<int>(rank), kPhase, source.description(),
                 "cannot be read by every rank: " + reason,
                 "put the same files where every rank sees them, or let the root read alone"});
  }
  return {TeacherRead::kEveryRank, ""};
}

}  // namespace fakescore::detail
