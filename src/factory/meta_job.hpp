#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "factory/load_plan.hpp"
#include "factory/placement.hpp"
#include "fakescore/core/error.hpp"
#include "fakescore/core/manifest.hpp"
#include "fakescore/core/meta_init.hpp"
#include "fakescore/factory/fake_score_meta.hpp"
#include "sync/broadcast_pipeline.hpp"
#include "sync/data_plane.hpp"

namespace fakescore::detail {

/// Throws ConfigError for options that cannot work.
void check_meta_options(int world_size, const MetaOptions& options);

/// Throws ConfigError where every rank is to read for a fake score that is not on CPUs.
void check_reader(const MetaOptions& options, at::Device device);

/// One call of create_fake_score_meta on one rank: its phases, and what they hand on.
class MetaJob {
 public:
  MetaJob(const ModuleBuilder& build, const TeacherSource& teacher, Communicator& communicator,
          const MetaOptions& options);
  MetaResult run();

 private:
  void run_phases();
  void build();
  void agree_on_structure();
  void plan();
  void place();
  void move();
  void replay();
  void verify();
  void finish();

  bool is_root() const { return communicator_.rank() == options_.root; }
  bool every_rank_reads() const { return report_.read == TeacherRead::kEveryRank; }
  /// Times `body` as one phase of the report.
  void phase(const std::string& name, const std::function<void()>& body);
  void plan_on_root();
  void check_tied_values(const LoadPlan& plan);
  void replay_on_root();
  void fill_module();
  std::vector<Transfer> make_transfers(bool replayed);
  Transfer make_transfer(const GroupPlan& group);
  at::Tensor read_teacher(size_t index);
  void assemble(const GroupPlan& group);
  void check_overlaps(const GroupPlan& group);
  void read_on_every_rank(const std::vector<Transfer>& transfers);
  PipelineResult read_alone(const std::vector<Transfer>& transfers, const PipelineOptions& options);
  void broadcast(const std::vector<Transfer>& transfers, const std::string& phase);
  PipelineOptions pipeline_options(const std::string& phase) const;
  void count_bytes(uint64_t bytes);
  void gather_report();

  const ModuleBuilder& build_;
  const TeacherSource& source_;
  Communicator& communicator_;
  const MetaOptions& options_;
  at::Device device_;

  std::shared_ptr<torch::nn::Module> module_;
  std::shared_ptr<InitTape> tape_;
  std::vector<ModuleTensor> tensors_;
  Manifest manifest_;
  std::vector<std::vector<ByteRange>> occupied_;
  std::unique_ptr<Teacher> teacher_;  ///< of the ranks that read
  LoadPlan plan_;
  std::optional<Placement> placement_;
  std::optional<DataPlane> data_plane_;
  MetaReport report_;
};

}  // namespace fakescore::detail
