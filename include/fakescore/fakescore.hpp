#pragma once

/// Everything a program needs; docs/design.md says how the parts fit together.

#include "fakescore/comm/communicator.hpp"
#include "fakescore/comm/launch_env.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/core/cuda.hpp"
#include "fakescore/core/digest.hpp"
#include "fakescore/core/error.hpp"
#include "fakescore/core/manifest.hpp"
#include "fakescore/core/meta_init.hpp"
#include "fakescore/core/module_tensors.hpp"
#include "fakescore/core/non_persistent.hpp"
#include "fakescore/core/teacher_source.hpp"
#include "fakescore/factory/fake_score.hpp"
#include "fakescore/factory/fake_score_meta.hpp"
#include "fakescore/factory/fake_score_plan.hpp"
#include "fakescore/models/dit.hpp"
#include "fakescore/models/registry.hpp"
#include "fakescore/sync/sync_module_states.hpp"
