#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <set>
#include <vector>

#include "emulation.hpp"
#include "runtime/random.hpp"
#include "self_test/device_buffer.hpp"
#include "self_test/gate.hpp"

namespace fakescore::emulation {
namespace {

constexpr size_t kBytes = 4096;

class TestStream {
 public:
  explicit TestStream(unsigned flags) {
    EXPECT_EQ(cudaStreamCreateWithFlags(&handle_, flags), cudaSuccess);
  }
  ~TestStream() { EXPECT_EQ(cudaStreamDestroy(handle_), cudaSuccess); }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;

  cudaStream_t get() const { return handle_; }
  void wait() const { EXPECT_EQ(cudaStreamSynchronize(handle_), cudaSuccess); }
  bool is_idle() const { return cudaStreamQuery(handle_) == cudaSuccess; }

 private:
  cudaStream_t handle_ = nullptr;
};

class TestEvent {
 public:
  explicit TestEvent(unsigned flags = cudaEventDefault) {
    EXPECT_EQ(cudaEventCreateWithFlags(&handle_, flags), cudaSuccess);
  }
  ~TestEvent() { EXPECT_EQ(cudaEventDestroy(handle_), cudaSuccess); }
  TestEvent(const TestEvent&) = delete;
  TestEvent& operator=(const TestEvent&) = delete;

  cudaEvent_t get() const { return handle_; }
  void record(const TestStream& stream) const {
    EXPECT_EQ(cudaEventRecord(handle_, stream.get()), cudaSuccess);
  }
  void block(const TestStream& stream) const {
    EXPECT_EQ(cudaStreamWaitEvent(stream.get(), handle_, 0), cudaSuccess);
  }

 private:
  cudaEvent_t handle_ = nullptr;
};

class StreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(is_active()) << "the emulation is not preloaded";
    ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }

  /// Puts "note this number" on a stream.
  void note(cudaStream_t stream, int number) {
    attached()->submit(stream, "note", [this, number] {
      const std::lock_guard<std::mutex> lock(mutex_);
      notes_.push_back(number);
    });
  }
  std::vector<int> notes() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return notes_;
  }

  TestStream one{cudaStreamNonBlocking};
  TestStream two{cudaStreamNonBlocking};

 private:
  std::mutex mutex_;
  std::vector<int> notes_;
};

TEST_F(StreamTest, WorkOfOneStreamKeepsItsOrder) {
  std::vector<int> expected;
  for (int i = 0; i < 100; ++i) {
    note(one.get(), i);
    expected.push_back(i);
  }
  one.wait();
  EXPECT_EQ(notes(), expected);
}

TEST_F(StreamTest, StreamsDoNotWaitForEachOther) {
  Gate gate(one.get());
  note(one.get(), 1);
  note(two.get(), 2);
  two.wait();
  EXPECT_EQ(notes(), (std::vector{2}));
  EXPECT_EQ(cudaStreamQuery(one.get()), cudaErrorNotReady);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "not ready is no error";
  gate.open();
  one.wait();
  EXPECT_TRUE(one.is_idle());
  EXPECT_EQ(notes(), (std::vector{2, 1}));
}

TEST_F(StreamTest, AnEventOrdersTwoStreams) {
  const TestEvent event;
  Gate gate(one.get());
  note(one.get(), 1);
  event.record(one);
  event.block(two);
  note(two.get(), 2);
  EXPECT_EQ(cudaEventQuery(event.get()), cudaErrorNotReady);
  gate.open();
  two.wait();
  EXPECT_EQ(cudaEventQuery(event.get()), cudaSuccess);
  EXPECT_EQ(notes(), (std::vector{1, 2}));
}

TEST_F(StreamTest, AnEventThatWasNeverRecordedHoldsNobody) {
  const TestEvent event;
  event.block(two);
  two.wait();
  EXPECT_EQ(cudaEventQuery(event.get()), cudaSuccess);
}

TEST_F(StreamTest, AWaitIsForTheRecordAtTheTimeOfTheCall) {
  const TestEvent event;
  event.record(one);
  event.block(two);
  Gate gate(one.get());
  event.record(one);
  note(two.get(), 2);
  two.wait();
  EXPECT_EQ(cudaEventQuery(event.get()), cudaErrorNotReady);
}

TEST_F(StreamTest, AnEventMayBeDestroyedWhileItIsWaitedFor) {
  Gate gate(one.get());
  note(one.get(), 1);
  {
    const TestEvent event;
    event.record(one);
    event.block(two);
  }
  note(two.get(), 2);
  gate.open();
  two.wait();
  EXPECT_EQ(notes(), (std::vector{1, 2}));
}

TEST_F(StreamTest, EventsTellTime) {
  const TestEvent begin;
  const TestEvent end;
  const TestEvent without_time(cudaEventDisableTiming);
  begin.record(one);
  Gate gate(one.get());
  end.record(one);
  without_time.record(one);
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), cudaErrorNotReady);
  gate.open();
  EXPECT_EQ(cudaEventSynchronize(end.get()), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), cudaSuccess);
  EXPECT_GE(milliseconds, 0);
  one.wait();
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin.get(), without_time.get()),
            cudaErrorInvalidResourceHandle);
  cudaGetLastError();
}

TEST_F(StreamTest, AnEventBelongsToItsDevice) {
  const TestEvent event;
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  const TestStream other(cudaStreamNonBlocking);
  EXPECT_EQ(cudaEventRecord(event.get(), other.get()), cudaErrorInvalidResourceHandle);
  cudaGetLastError();
  event.record(one);
  event.block(other);  // waiting across devices is allowed
  other.wait();
}

TEST_F(StreamTest, TheDefaultStreamWaitsForBlockingStreams) {
  const TestStream blocking(cudaStreamDefault);
  Gate gate(blocking.get());
  note(blocking.get(), 1);
  note(nullptr, 2);
  EXPECT_EQ(cudaStreamQuery(nullptr), cudaErrorNotReady);
  gate.open();
  ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  EXPECT_EQ(notes(), (std::vector{1, 2}));
}

TEST_F(StreamTest, BlockingStreamsWaitForTheDefaultStream) {
  const TestStream blocking(cudaStreamDefault);
  const TestStream other(cudaStreamDefault);
  Gate gate(nullptr);
  note(nullptr, 1);
  note(blocking.get(), 2);
  EXPECT_FALSE(blocking.is_idle());
  gate.open();
  blocking.wait();
  EXPECT_EQ(notes(), (std::vector{1, 2}));
  Gate between(blocking.get());
  note(other.get(), 3);
  other.wait();  // blocking streams do not wait for each other
  EXPECT_EQ(notes(), (std::vector{1, 2, 3}));
}

TEST_F(StreamTest, NonBlockingStreamsAndTheDefaultStreamDoNotWait) {
  {
    Gate gate(nullptr);
    note(one.get(), 1);
    one.wait();
  }
  {
    Gate gate(one.get());
    note(nullptr, 2);
    ASSERT_EQ(cudaStreamSynchronize(cudaStreamLegacy), cudaSuccess);
  }
  EXPECT_EQ(notes(), (std::vector{1, 2}));
}

TEST_F(StreamTest, ADestroyedStreamEndsItsWork) {
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  Gate gate(stream);
  note(stream, 1);
  ASSERT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
  EXPECT_TRUE(notes().empty());
  gate.open();
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(notes(), (std::vector{1}));
  cudaGetLastError();
}

TEST_F(StreamTest, FreeingWaitsForTheDevice) {
  void* buffer = nullptr;
  ASSERT_EQ(cudaMalloc(&buffer, kBytes), cudaSuccess);
  std::atomic<bool> is_done{false};
  attached()->submit(one.get(), "work", [&] { is_done = true; });
  ASSERT_EQ(cudaFree(buffer), cudaSuccess);
  EXPECT_TRUE(is_done);
}

TEST_F(StreamTest, AProcessMayEndWithWorkLeft) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto leave = [&] {
    const DeviceBuffer buffer(kBytes);
    for (int i = 0; i < 10'000; ++i) cudaMemsetAsync(buffer.get(), i % 100, kBytes, one.get());
    std::exit(0);
  };
  EXPECT_EXIT(leave(), ::testing::ExitedWithCode(0), "");
}

TEST_F(StreamTest, StreamsKnowWhatTheyAre) {
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, -1), cudaSuccess);
  int priority = 0;
  unsigned flags = 0;
  EXPECT_EQ(cudaStreamGetPriority(stream, &priority), cudaSuccess);
  EXPECT_EQ(priority, -1);
  EXPECT_EQ(cudaStreamGetFlags(stream, &flags), cudaSuccess);
  EXPECT_EQ(flags, cudaStreamNonBlocking);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(StreamTest, TheTimelineTellsWhatRanWhereAndWhen) {
  attached()->clear_timeline();
  const DeviceBuffer buffer(kBytes);
  const TestEvent event;
  ASSERT_EQ(cudaMemsetAsync(buffer.get(), 0, kBytes, one.get()), cudaSuccess);
  event.record(one);
  event.block(two);
  ASSERT_EQ(cudaMemsetAsync(buffer.get(), 1, 100, two.get()), cudaSuccess);
  two.wait();
  const std::vector<Operation> operations = attached()->timeline();
  ASSERT_EQ(operations.size(), 2);
  EXPECT_EQ(operations[0].name, "memset");
  EXPECT_EQ(operations[0].bytes, kBytes);
  EXPECT_EQ(operations[1].bytes, 100);
  EXPECT_NE(operations[0].stream, operations[1].stream);
  EXPECT_LE(operations[0].begin, operations[0].end);
  EXPECT_LE(operations[0].end, operations[1].begin);
}

TEST(DelaysTest, StreamsAndSeedsDrift) {
  const auto sequence = [](uint64_t seed) {
    Delays delays(seed, 100);
    std::vector<uint64_t> values(1000);
    std::generate(values.begin(), values.end(), [&] { return delays.next_us(); });
    return values;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  std::set<std::vector<uint64_t>> all;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    for (uint64_t stream = 0; stream < 5; ++stream) all.insert(sequence(mix(seed, stream)));
  }
  EXPECT_EQ(all.size(), 25);
  const auto values = sequence(1);
  const auto none = std::count(values.begin(), values.end(), uint64_t{0});
  EXPECT_GT(none, 400);
  EXPECT_LT(none, 600);
  EXPECT_LT(*std::max_element(values.begin(), values.end()), 400);
}

}  // namespace
}  // namespace fakescore::emulation
