// A job on a GPU begins after what the caller's current stream was given before, whichever stream
// that is, and leaves nothing behind that would reach memory which is used again.
#include <ATen/DeviceAccelerator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <optional>

#include "fakescore/error.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/sync_module_states.hpp"
#include "gpu/busy_stream.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"

namespace fakescore {
namespace {

using testing::BusyStream;
using testing::NamedTensors;
using testing::only_on_root;
using testing::rank_device;
using testing::run_on_every_rank;

constexpr float kRight = 1;
constexpr float kWrong = -1;

/// Whether the caller's stream is one of its own, not LibTorch's default.
class CallersStream : public ::testing::TestWithParam<bool> {
 protected:
  static c10::cuda::CUDAStreamGuard enter_stream() {
    const auto index = rank_device().index();
    return c10::cuda::CUDAStreamGuard(GetParam() ? c10::cuda::getStreamFromPool(false, index)
                                                 : c10::cuda::getDefaultCUDAStream(index));
  }
};

/// Tensors that travel packed, and ones that land in place, in host memory.
NamedTensors host_tensors(float value) {
  constexpr int kOfEach = 4;
  constexpr int64_t kPacked = 1000;
  constexpr int64_t kInPlace = 100'000;
  NamedTensors tensors;
  for (int i = 0; i < kOfEach; ++i) {
    tensors.push_back({"packed_" + std::to_string(i), torch::full({kPacked}, value)});
  }
  for (int i = 0; i < kOfEach; ++i) {
    tensors.push_back({"in_place_" + std::to_string(i), torch::full({kInPlace}, value)});
  }
  return tensors;
}

NamedTensors pinned_tensors(float value) {
  NamedTensors tensors = host_tensors(value);
  for (auto& entry : tensors) entry.tensor = entry.tensor.pin_memory();
  return tensors;
}

NamedTensors gpu_tensors(float value) {
  NamedTensors tensors = host_tensors(value);
  for (auto& entry : tensors) entry.tensor = entry.tensor.to(rank_device());
  return tensors;
}

/// The host does not wait for it.
void write_on_stream(const NamedTensors& from, const NamedTensors& to) {
  for (size_t i = 0; i < to.size(); ++i) {
    at::Tensor target = to[i].tensor;
    target.copy_(from[i].tensor, /*non_blocking=*/true);
  }
}

std::shared_ptr<torch::nn::Module> module_of(const NamedTensors& tensors) {
  auto module = std::make_shared<torch::nn::Module>();
  for (const auto& entry : tensors)
    module->register_parameter(entry.name, entry.tensor, /*requires_grad=*/false);
  return module;
}

std::shared_ptr<torch::nn::Module> build_empty() { return module_of(host_tensors(0)); }

void expect_right(const NamedTensors& tensors) {
  for (const auto& entry : tensors) {
    EXPECT_TRUE((entry.tensor.cpu() == kRight).all().item<bool>()) << entry.name;
  }
}

void expect_right(const torch::nn::Module& module) {
  expect_right(testing::persistent_tensors(module));
}

TEST_P(CallersStream, SyncSendsAndReplacesWhatItWritesLate) {
  run_on_every_rank([](Communicator& communicator) {
    const auto stream = enter_stream();
    const NamedTensors late = pinned_tensors(communicator.rank() == 0 ? kRight : kWrong);
    const NamedTensors tensors = gpu_tensors(0);
    const auto module = module_of(tensors);
    BusyStream busy(communicator);
    write_on_stream(late, tensors);
    sync_module_states(*module, busy.communicator());
    expect_right(tensors);
  });
}

/// The root's stream is free: a broadcast that a receiver does not hold back arrives at once.
TEST_P(CallersStream, AReceiverMayStillWriteToWhatItReceives) {
  run_on_every_rank([](Communicator& communicator) {
    const auto stream = enter_stream();
    const bool is_root = communicator.rank() == 0;
    const NamedTensors late = pinned_tensors(kWrong);
    const NamedTensors tensors = gpu_tensors(is_root ? kRight : 0);
    const auto module = module_of(tensors);
    std::optional<BusyStream> busy;
    if (!is_root) {
      busy.emplace(communicator);
      write_on_stream(late, tensors);
    }
    sync_module_states(*module, busy ? busy->communicator() : communicator);
    c10::cuda::device_synchronize();
    expect_right(tensors);
  });
}

TEST_P(CallersStream, ATeacherOnTheGpuMayGetItsValuesLate) {
  run_on_every_rank([](Communicator& communicator) {
    const auto stream = enter_stream();
    const NamedTensors late = pinned_tensors(kRight);
    NamedTensors teacher = gpu_tensors(kWrong);
    // To open one with gaps is work on a stream as well.
    for (size_t i = 0; i < teacher.size(); i += 2) {
      at::Tensor& tensor = teacher[i].tensor;
      tensor = tensor.unsqueeze(1).repeat({1, 2}).select(1, 0);
    }
    const TeacherSource source = only_on_root(communicator, teacher);
    BusyStream busy(communicator);
    write_on_stream(late, teacher);
    expect_right(*create_fake_score_meta(build_empty, source, busy.communicator()).module);
  });
}

/// LibTorch's allocator gives out memory again, for the same stream, that this is not done with.
TEST_P(CallersStream, MayStillUseTheMemoryThatTheFakeScoreGets) {
  run_on_every_rank([](Communicator& communicator) {
    const auto stream = enter_stream();
    const NamedTensors late = pinned_tensors(kWrong);
    const TeacherSource source = only_on_root(communicator, pinned_tensors(kRight));
    at::accelerator::emptyCache();
    NamedTensors before = gpu_tensors(0);
    const void* const memory = before.back().tensor.data_ptr();
    BusyStream busy(communicator);
    write_on_stream(late, before);
    before.clear();
    const auto module = create_fake_score_meta(build_empty, source, busy.communicator()).module;
    expect_right(*module);
    bool is_used_again = false;
    for (const auto& entry : testing::persistent_tensors(*module)) {
      is_used_again = is_used_again || entry.tensor.data_ptr() == memory;
    }
    EXPECT_TRUE(is_used_again) << "the test shows nothing";
  });
}

TEST_P(CallersStream, MemoryOfAFailedJobIsNotWrittenToAfterwards) {
  run_on_every_rank([](Communicator& communicator) {
    constexpr int kTries = 5;
    const auto stream = enter_stream();
    const NamedTensors right = pinned_tensors(kRight);
    const TeacherSource source = only_on_root(communicator, gpu_tensors(kWrong));
    MetaOptions options;
    options.bucket_bytes = 1 << 20;  // more than two flights
    for (int i = 0; i < kTries; ++i) {
      int broadcasts = 0;
      NamedTensors after;
      {
        BusyStream busy(communicator, [&] {
          if (++broadcasts == 2) throw CommError({ErrorCode::kPeerLost, -1, "", "", "test", ""});
        });
        EXPECT_THROW(create_fake_score_meta(build_empty, source, busy.communicator(), options),
                     CommError);
        for (const auto& entry : right) {
          after.push_back(
              {entry.name, torch::empty(entry.tensor.sizes(), torch::device(rank_device()))});
        }
        write_on_stream(right, after);
      }
      c10::cuda::device_synchronize();
      expect_right(after);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Streams, CallersStream, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "own" : "default"; });

}  // namespace
}  // namespace fakescore
