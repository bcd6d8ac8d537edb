// What must arrive where, when nothing goes wrong.
#include <sys/types.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>

#include "emulation.hpp"
#include "self_test/nccl_rank.hpp"

namespace fakescore::emulation {
namespace {

/// Several chunks of shared memory, and no whole number of them.
constexpr size_t kLarge = 300'001;

void broadcast() {
  const ncclComm_t communicator = connect(/*is_blocking=*/true);
  const cudaStream_t stream = make_stream();
  attached()->reset_counters();
  uint64_t bytes = 0;
  for (const size_t count : {size_t{0}, size_t{1}, size_t{1000}, kLarge}) {
    for (int root = 0; root < size(); ++root) {
      float* const buffer = upload(pattern(count, rank()));
      require(ncclBroadcast(buffer, buffer, count, ncclFloat32, root, communicator, stream),
              "ncclBroadcast");
      require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
      require(download(buffer, count) == pattern(count, root), "every rank has the root's values");
      require(cudaFree(buffer), "cudaFree");
      bytes += count * sizeof(float);
    }
  }
  require(attached()->counters().nccl_broadcast_bytes == bytes, "the bytes are counted");
  require(ncclCommFinalize(communicator), "ncclCommFinalize");
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

void reduce_and_gather() {
  const ncclComm_t communicator = connect(true);
  const size_t all = kLarge * static_cast<size_t>(size());
  std::vector<float> sum(all, 0);
  for (int from = 0; from < size(); ++from) {
    const auto values = pattern(all, from);
    for (size_t i = 0; i < all; ++i) sum[i] += values[i];
  }
  float* const input = upload(pattern(all, rank()));
  float* const output = upload(std::vector<float>(all, 0));
  require(ncclAllReduce(input, output, all, ncclFloat32, ncclSum, communicator, nullptr), "reduce");
  require(download(output, all) == sum, "every rank has the sum");

  require(ncclReduceScatter(input, output, kLarge, ncclFloat32, ncclSum, communicator, nullptr),
          "ncclReduceScatter");
  const auto* const begin = sum.data() + kLarge * static_cast<size_t>(rank());
  require(download(output, kLarge) == std::vector<float>(begin, begin + kLarge),
          "each rank has its part of the sum");

  require(ncclReduce(input, input, all, ncclFloat32, ncclSum, 0, communicator, nullptr), "reduce");
  require(download(input, all) == (rank() == 0 ? sum : pattern(all, rank())),
          "the root has the sum");

  float* const part = upload(pattern(kLarge, rank()));
  require(ncclAllGather(part, output, kLarge, ncclFloat32, communicator, nullptr), "gather");
  for (int from = 0; from < size(); ++from) {
    const float* const theirs = output + kLarge * static_cast<size_t>(from);
    require(download(theirs, kLarge) == pattern(kLarge, from), "every rank has every part");
  }
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

void reductions_by_type() {
  const ncclComm_t communicator = connect(true);
  const auto check = [&](auto value, auto expected, ncclDataType_t type, ncclRedOp_t reduction) {
    const std::vector values(10, value);
    auto* const buffer = upload(values);
    require(ncclAllReduce(buffer, buffer, 10, type, reduction, communicator, nullptr), "reduce");
    require(download(buffer, 10) == std::vector(10, expected),
            "reduction " + std::to_string(reduction) + " of type " + std::to_string(type));
  };
  const int ranks = size();
  const int last = ranks - 1;
  check(int64_t{rank()}, int64_t{last}, ncclInt64, ncclMax);
  check(static_cast<int8_t>(rank()), int8_t{0}, ncclInt8, ncclMin);
  check(2.0, static_cast<double>(1 << ranks), ncclFloat64, ncclProd);
  check(static_cast<float>(2 * rank()), static_cast<float>(last), ncclFloat32, ncclAvg);
  check(uint16_t{0x3F80}, ranks == 2 ? uint16_t{0x4000} : uint16_t{0x4080}, ncclBfloat16, ncclSum);
  check(uint16_t{0x3C00}, ranks == 2 ? uint16_t{0x4000} : uint16_t{0x4400}, ncclFloat16, ncclSum);
  // The smallest, the largest and an odd one in the middle; twice infinity is infinity.
  check(uint16_t{0x0001}, ranks == 2 ? uint16_t{0x0002} : uint16_t{0x0004}, ncclFloat16, ncclSum);
  check(uint16_t{0x7BFF}, uint16_t{0x7C00}, ncclFloat16, ncclSum);
  check(uint16_t{0xB555}, uint16_t{0xB555}, ncclFloat16, ncclAvg);
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

void grouped_broadcasts() {
  constexpr int kTensors = 50;
  const ncclComm_t communicator = connect(false);
  const cudaStream_t stream = make_stream();
  std::vector<float*> buffers;
  const auto count = [](int tensor) { return 1 + 997 * static_cast<size_t>(tensor); };
  buffers.reserve(kTensors);
  for (int i = 0; i < kTensors; ++i) buffers.push_back(upload(pattern(count(i), rank(), i)));
  attached()->reset_counters();
  require(ncclGroupStart(), "ncclGroupStart");
  for (int i = 0; i < kTensors; ++i) {
    float* const buffer = buffers[static_cast<size_t>(i)];
    require(ncclBcast(buffer, count(i), ncclFloat32, i % size(), communicator, stream),
            "ncclBcast");
  }
  require(ncclGroupEnd() == ncclInProgress, "ncclGroupEnd is under way");
  require(settle(communicator), "the group is launched");
  require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  for (int i = 0; i < kTensors; ++i) {
    require(download(buffers[static_cast<size_t>(i)], count(i)) == pattern(count(i), i % size(), i),
            "tensor " + std::to_string(i) + " has the root's values");
  }
  require(attached()->counters().nccl_launches == 1, "a group is one launch");
  require(attached()->counters().nccl_broadcast_calls == kTensors, "its calls are counted");
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

void ring() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  const int next = (rank() + 1) % size();
  const int previous = (rank() + size() - 1) % size();
  float* const mine = upload(pattern(kLarge, rank()));
  float* const theirs = upload(std::vector<float>(2 * kLarge, 0));
  require(ncclGroupStart(), "ncclGroupStart");
  for (size_t half = 0; half < 2; ++half) {
    require(ncclSend(mine, kLarge, ncclFloat32, next, communicator, stream), "ncclSend");
    require(ncclRecv(theirs + half * kLarge, kLarge, ncclFloat32, previous, communicator, stream),
            "ncclRecv");
  }
  require(ncclGroupEnd(), "ncclGroupEnd");
  require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  for (size_t half = 0; half < 2; ++half) {
    require(download(theirs + half * kLarge, kLarge) == pattern(kLarge, previous),
            "the ring turns");
  }
  if (rank() == 0) {
    require(ncclSend(mine, 10, ncclFloat32, 1, communicator, stream), "ncclSend");
  } else if (rank() == 1) {
    require(ncclRecv(theirs, 10, ncclFloat32, 0, communicator, stream), "ncclRecv");
  }
  require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

/// The receiver takes the message at any moment of the sender's looks for a deadlock, and goes on.
void a_message_just_taken() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(1000, rank()));
  for (unsigned i = 0; i < 60; ++i) {
    if (rank() == 0) {
      require(ncclSend(buffer, 1000, ncclFloat32, 1, communicator, stream), "ncclSend");
    } else if (rank() == 1) {
      ::usleep(10'000 + 300 * i);
      require(ncclRecv(buffer, 1000, ncclFloat32, 0, communicator, stream), "ncclRecv");
    }
    require(ncclBroadcast(buffer, buffer, 1000, ncclFloat32, 0, communicator, stream),
            "ncclBroadcast");
    require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }
  require(settle(communicator), "no error");
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

/// NCCL keeps the order of a communicator's calls whatever streams they are on; without that,
/// streams that drift apart would pair different calls.
void order_across_streams() {
  const ncclComm_t communicator = connect(true);
  const std::vector<cudaStream_t> streams{make_stream(), make_stream(), make_stream()};
  float* const buffer = upload(pattern(1000, rank()));
  for (int i = 0; i < 30; ++i) {
    const auto stream = streams[static_cast<size_t>(i) % streams.size()];
    const size_t count = 1 + static_cast<size_t>(i);
    require(ncclBroadcast(buffer, buffer, count, ncclFloat32, i % size(), communicator, stream),
            "ncclBroadcast");
  }
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  require(settle(communicator), "no error");
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

void a_call_without_blocking_is_under_way() {
  const ncclComm_t communicator = connect(false);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(1000, rank()));
  for (int i = 0; i < 5; ++i) {
    require(
        ncclBroadcast(buffer, buffer, 1000, ncclFloat32, 0, communicator, stream) == ncclInProgress,
        "the call is under way");
    require(settle(communicator), "the call is done");
  }
  require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  require(ncclCommFinalize(communicator) == ncclInProgress, "ncclCommFinalize is under way");
  require(settle(communicator), "ncclCommFinalize is done");
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

size_t entries(const char* folder) {
  const std::filesystem::directory_iterator all(folder);
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

void nothing_leaks() {
  require(cudaSetDevice(rank()), "cudaSetDevice");
  const cudaStream_t stream = make_stream();
  size_t files = 0;
  size_t threads = 0;
  for (int i = 0; i < 12; ++i) {
    const ncclComm_t communicator = connect(i % 2 == 0);
    float* const buffer = upload(pattern(1000, rank()));
    const ncclResult_t result =
        ncclBroadcast(buffer, buffer, 1000, ncclFloat32, 0, communicator, stream);
    require(result == ncclSuccess || result == ncclInProgress, "ncclBroadcast");
    require(settle(communicator), "the call is launched");
    require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    require(i % 3 == 0 ? ncclCommAbort(communicator) : ncclCommDestroy(communicator), "the end");
    require(cudaFree(buffer), "cudaFree");
    require(eventually([] { return attached()->counters().live_communicators == 0; }),
            "no communicator is left");
    if (i < 2) {  // the first ones start the threads that stay
      files = entries("/proc/self/fd");
      threads = entries("/proc/self/task");
    }
    require(eventually([&] { return entries("/proc/self/task") <= threads; }), "no thread is left");
    require(entries("/proc/self/fd") <= files, "no file is left");
  }
}

}  // namespace

const std::vector<NamedScenario> kDataScenarios{
    {"broadcast", broadcast},
    {"reduce_and_gather", reduce_and_gather},
    {"reductions_by_type", reductions_by_type},
    {"grouped_broadcasts", grouped_broadcasts},
    {"ring", ring},
    {"a_message_just_taken", a_message_just_taken},
    {"order_across_streams", order_across_streams},
    {"a_call_without_blocking_is_under_way", a_call_without_blocking_is_under_way},
    {"nothing_leaks", nothing_leaks},
};

}  // namespace fakescore::emulation
