#pragma once

#include <memory>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/export.hpp"
#include "fakescore/fill/cast_options.hpp"
#include "fakescore/fill/fill_options.hpp"
#include "fakescore/fill/fill_report.hpp"
#include "fakescore/meta/meta_init.hpp"
#include "fakescore/module/create_fake_score.hpp"
#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore {

struct MetaOptions : FillOptions, CastOptions {
  /// Seeds of replayed initialisation; only the root's matter.
  MetaInitOptions init;
};

struct MetaReport : FillReport {
  /// The single-process fallback was used; of the rest only `backend` and `digest` are set.
  bool deep_copy = false;
};

struct MetaResult {
  std::shared_ptr<torch::nn::Module> module;
  MetaReport report;
};

/// Builds the teacher's fake score on every rank of a job.
///
/// Every rank calls `build` under a MetaInitGuard, so that nothing is allocated, and fill_tensors
/// gives what it built the teacher's values. Tensors that the teacher does not hold (missing keys,
/// non-persistent buffers, plain tensor members) get those of their own initialisation, replayed on
/// the root from the record of `build`. The result is on `options.device`, in training mode, and
/// every floating-point or complex parameter requires gradients. All ranks hold the same bits.
///
/// Memory, GPU, failures: as fill_tensors has them. Collective.
FAKESCORE_API MetaResult create_fake_score_meta(const ModuleBuilder& build,
                                                const TeacherSource& teacher,
                                                Communicator& communicator,
                                                const MetaOptions& options = {});

/// From a live module, without a builder. In a job of one process this is create_fake_score's deep
/// copy; in a larger job it throws ConfigError on every rank, saying what to pass.
FAKESCORE_API MetaResult create_fake_score_meta(const std::shared_ptr<torch::nn::Module>& teacher,
                                                Communicator& communicator,
                                                const MetaOptions& options = {});

}  // namespace fakescore
