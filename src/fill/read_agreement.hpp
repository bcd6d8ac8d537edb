#pragma once

#include <memory>
#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/fill/fill_options.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "fakescore/tensor/manifest.hpp"

namespace fakescore::detail {

struct ReadDecision {
  TeacherRead read = TeacherRead::kRoot;  ///< kRoot, kEveryRank or kInTurns
  std::string reason;                     ///< why not every rank reads; may be empty
  bool is_in_shards = false;              ///< the teacher: every rank has its own part
};

/// How the ranks of one job come to agree on who reads the teacher.
class ReadAgreement {
 public:
  /// Collective. Finds out whether other ranks than the root are to open the teacher at all.
  /// `target` is what this rank is to fill.
  ReadAgreement(Communicator& communicator, const FillOptions& options, at::Device device,
                const Manifest& target);

  /// On every rank but the root, while the root opens its own: opens the teacher where that may be
  /// of use. Throws nothing: what goes wrong is for `decide` to say.
  void try_open(const TeacherSource& source, std::unique_ptr<Teacher>& teacher);

  /// Collective. Compares what the ranks have opened with the root's, and comes to one decision;
  /// `teacher` stays open where this rank reads. Throws, on every rank, TeacherError naming the
  /// rank and what differs where options.read asks for more than the root and a rank does not see
  /// the root's files, and where the root's teacher is in shards and a rank has not its own part of
  /// it.
  ReadDecision decide(const TeacherSource& source, std::unique_ptr<Teacher>& teacher);

 private:
  TeacherRead choose(at::Device device, const Manifest& target);
  ReadDecision each_gives_its_part(const TeacherSource& source,
                                   const std::unique_ptr<Teacher>& teacher);
  bool is_root() const { return communicator_.rank() == options_.root; }

  Communicator& communicator_;
  const FillOptions& options_;
  bool root_alone_ = false;
  TeacherRead wanted_ = TeacherRead::kEveryRank;  ///< where all ranks see the root's files
  std::string reason_;                            ///< why that is not every rank; may be empty
  std::string problem_;                           ///< of this rank
};

}  // namespace fakescore::detail
