// Memory that processes of one host share. Jobs over it: the world tests, and those in Python.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <future>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <utility>
#include <vector>

#include "comm/bulk/shared_memory/peer_process.hpp"
#include "comm/bulk/shared_memory/segment_layout.hpp"
#include "comm/bulk/shared_memory/shared_ring.hpp"
#include "comm/bulk/shared_memory/shared_segment.hpp"
#include "comm/bulk/shared_memory/shared_stream.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "support/error_of.hpp"

namespace fakescore {
namespace {

using detail::PeerProcess;
using detail::SegmentAddress;
using detail::SegmentLayout;
using detail::SharedCount;
using detail::SharedRing;
using detail::SharedSegment;
using detail::SharedStream;
using testing::error_of;
using ::testing::HasSubstr;

std::vector<std::byte> numbered(size_t count) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 7 % 251);
  return bytes;
}

TEST(SharedRing, EveryReaderGetsEveryByteInOrder) {
  std::array<SharedCount, 4> counts;
  std::vector<std::byte> memory(1000);
  const detail::RingMemory where{counts.data(), counts.data() + 1, memory.data(), memory.size()};
  SharedRing writer(where, {0, 2});
  SharedRing reader(where, {});
  const auto sent = numbered(100'000);
  std::vector<std::vector<std::byte>> received(2, std::vector<std::byte>(sent.size()));
  size_t written = 0;
  std::array<size_t, 2> taken{};
  std::mt19937 random(3);
  const auto some = [&](size_t left) { return std::min<size_t>(left, random() % 700); };
  while (taken[0] + taken[1] < 2 * sent.size()) {
    written += writer.write(sent.data() + written, some(sent.size() - written));
    EXPECT_LE(written - std::min(taken[0], taken[1]), memory.size());
    for (size_t i = 0; i < 2; ++i) {
      taken[i] += reader.read(2 * i, received[i].data() + taken[i], some(sent.size() - taken[i]));
    }
  }
  EXPECT_EQ(received[0], sent);
  EXPECT_EQ(received[1], sent);
  EXPECT_EQ(reader.read(0, received[0].data(), 1), 0U);
}

TEST(SharedRing, IsFullUntilTheSlowestReaderHasTakenSome) {
  std::array<SharedCount, 3> counts;
  std::vector<std::byte> memory(100);
  const detail::RingMemory where{counts.data(), counts.data() + 1, memory.data(), memory.size()};
  SharedRing ring(where, {0, 1});
  auto bytes = numbered(100);
  EXPECT_EQ(ring.write(bytes.data(), 100), 100U);
  EXPECT_EQ(ring.read(0, bytes.data(), 100), 100U);
  EXPECT_EQ(ring.write(bytes.data(), 1), 0U);
  EXPECT_EQ(ring.read(1, bytes.data(), 40), 40U);
  EXPECT_EQ(ring.write(bytes.data(), 100), 40U);
}

TEST(SegmentLayout, RingsLieApartWithinTheSegment) {
  for (const int ranks : {2, 3, 8, 256}) {
    const SegmentLayout layout(ranks);
    // Never touched.
    auto* const segment = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);
    for (const int rank : {0, 1, ranks - 1}) {
      std::vector<std::pair<const std::byte*, const std::byte*>> taken;
      for (int to = 0; to < ranks; ++to) {
        const auto ring = layout.ring(segment, rank, to);
        const auto* counts = reinterpret_cast<const std::byte*>(ring.written);
        EXPECT_EQ(ring.taken, ring.written + 1);
        taken.emplace_back(counts, counts + sizeof(SharedCount) * static_cast<size_t>(ranks + 1));
        taken.emplace_back(ring.bytes, ring.bytes + ring.capacity);
        EXPECT_GE(ring.capacity, size_t{256} << 10);
      }
      std::sort(taken.begin(), taken.end());
      for (size_t i = 1; i < taken.size(); ++i) EXPECT_LE(taken[i - 1].second, taken[i].first);
      EXPECT_GE(taken.front().first, segment);
      EXPECT_LE(taken.back().second, segment + layout.bytes());
    }
  }
  EXPECT_LE(SegmentLayout(8).bytes(), 2 * SegmentLayout::kRingBytes + (size_t{64} << 10));
}

TEST(SharedSegment, IsSeenByWhoOpensIt) {
  const auto own = SharedSegment::make(10'000);
  const auto seen = SharedSegment::open(own.address(), 10'000);
  EXPECT_NE(own.data(), seen.data());
  own.data()[9'999] = std::byte{7};
  EXPECT_EQ(seen.data()[9'999], std::byte{7});
}

TEST(SharedSegment, OutlivesItsMakerWhereItIsMapped) {
  std::optional<SharedSegment> own = SharedSegment::make(100);
  const auto seen = SharedSegment::open(own->address(), 100);
  own->data()[0] = std::byte{1};
  const SegmentAddress address = own->address();
  own.reset();
  EXPECT_EQ(seen.data()[0], std::byte{1});
  EXPECT_THROW(SharedSegment::open(address, 100), std::exception);
}

TEST(SharedSegment, AnotherFileIsNotTakenForIt) {
  const auto own = SharedSegment::make(100);
  const auto other = SharedSegment::make(100);
  SegmentAddress address = own.address();
  address.name = other.address().name;
  EXPECT_THAT(error_of<std::runtime_error>([&] { SharedSegment::open(address, 100); }),
              HasSubstr("/memfd:fakescore-"));
  address.process = 1 << 30;
  EXPECT_THROW(SharedSegment::open(address, 100), std::system_error);
}

TEST(SharedSegment, OfAnotherSizeIsAnotherBuilds) {
  const auto own = SharedSegment::make(5000);
  EXPECT_THAT(error_of<std::runtime_error>([&] { SharedSegment::open(own.address(), 100'000); }),
              HasSubstr("has 5000 bytes"));
}

/// The kernel would end the process.
TEST(SharedSegment, BeyondTheLimitOfFileSizesIsAnError) {
  const auto make_beyond = [] {
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      SharedSegment::make(1001);
    } catch (const std::system_error& error) {
      ::_exit(error.code().value());
    }
    ::_exit(0);
  };
  EXPECT_EXIT(make_beyond(), ::testing::ExitedWithCode(EFBIG), "");
}

/// One ring, and both of its sides.
struct TwoSides {
  std::array<SharedCount, 2> counts;
  std::vector<std::byte> memory = std::vector<std::byte>(1000);
  detail::RingMemory where{counts.data(), counts.data() + 1, memory.data(), memory.size()};
  SharedStream writer{SharedRing(where, {0})};
  SharedStream reader{SharedRing(where, {}), 0};
};

TEST(SharedStream, EndsEachStretchOnce) {
  TwoSides sides;
  auto sent = numbered(10'000);
  std::vector<std::byte> received(sent.size());
  std::vector<int> ended;
  sides.writer.add(sent.data(), 3000, "one", [] {});
  sides.writer.add(sent.data() + 3000, 7000, "two", [] {});
  sides.reader.add(received.data(), 3000, "one", [&] { ended.push_back(1); });
  sides.reader.add(received.data() + 3000, 7000, "two", [&] { ended.push_back(2); });
  while (sides.writer.advance() || sides.reader.advance()) continue;
  EXPECT_EQ(received, sent);
  EXPECT_EQ(ended, (std::vector<int>{1, 2}));
  EXPECT_TRUE(sides.writer.is_idle() && sides.reader.is_idle());
}

TEST(SharedStream, SidesThatDifferAreFoundOut) {
  TwoSides sides;
  auto bytes = numbered(100);
  sides.writer.add(bytes.data(), 100, "theirs", [] {});
  sides.reader.add(bytes.data(), 60, "mine", [] { FAIL() << "it was another stretch"; });
  while (sides.writer.advance()) continue;
  EXPECT_THAT(error_of<detail::DifferentStretches>([&] { sides.reader.advance(); }),
              HasSubstr("sends 100 bytes where 60 are expected"));
}

TEST(PeerProcess, HasEndedOnceItHas) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    ::close(pipe[1]);
    ::_exit(static_cast<int>(::read(pipe[0], &byte, 1)));
  }
  const PeerProcess process(child);
  EXPECT_FALSE(process.has_ended());
  ::close(pipe[1]);
  // It stays a zombie, as one does whose launcher does not look.
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(process.has_ended());
  ::waitpid(child, nullptr, 0);
  ::close(pipe[0]);
}

/// Runs `body` on every rank of a world of threads that share memory. What one throws is thrown
/// here.
template <typename Body>
void run_shared(int ranks, Body body) {
  auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::future<void>> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.push_back(std::async(std::launch::async, [&body, store, rank, ranks] {
      const auto shared = share_host_memory(
          make_store_communicator(store, rank, ranks, "shared", std::chrono::seconds(60)));
      ASSERT_EQ(shared->backend(), "shared memory over store");
      body(*shared);
    }));
  }
  for (auto& thread : threads) thread.get();
}

/// What rank `from` sends to rank `to` in operation `number`.
at::Tensor content(int number, int from, int to, int64_t bytes) {
  const at::Tensor values = torch::empty({bytes}, torch::kUInt8);
  auto* const data = values.mutable_data_ptr<uint8_t>();
  const int64_t first = number * 7 + from * 3 + to;
  for (int64_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>((first + 31 * i) % 251);
  return values;
}

/// Any sequence of operations, several in flight, some larger than a ring.
TEST(ShareHostMemory, MovesWhatItIsGiven) {
  constexpr int kRanks = 3;
  run_shared(kRanks, [](Communicator& communicator) {
    const int rank = communicator.rank();
    std::mt19937 random(5);  // the same on every rank
    const auto some_bytes = [&] {
      const std::array<int64_t, 5> kinds{0, 1, 4097, 700'001, 9'000'000};
      return kinds[random() % kinds.size()];
    };
    for (int round = 0; round < 8; ++round) {
      std::vector<std::unique_ptr<PendingOperation>> pending;
      std::vector<std::pair<at::Tensor, at::Tensor>> expected;
      std::vector<Exchange> kept;
      for (int number = 0; number < 4; ++number) {
        if (random() % 2 == 0) {
          const int root = static_cast<int>(random() % kRanks);
          const auto values = content(number, root, root, some_bytes());
          const auto buffer = rank == root ? values.clone() : torch::zeros_like(values);
          pending.push_back(communicator.start_broadcast(buffer, root, "weights"));
          expected.emplace_back(buffer, values);
          continue;
        }
        std::vector<at::Tensor> out{torch::empty({0}, torch::kUInt8)};
        std::vector<at::Tensor> in{torch::empty({0}, torch::kUInt8)};
        Exchange exchange;
        for (int from = 0; from < kRanks; ++from) {
          for (int to = 0; to < kRanks; ++to) {
            const int64_t bytes = some_bytes();
            if (from == to) continue;
            if (from == rank) {
              exchange.sends.push_back({to, bytes});
              out.push_back(content(number, from, to, bytes));
            } else if (to == rank) {
              exchange.receives.push_back({from, bytes});
              in.push_back(content(number, from, to, bytes));
            }
          }
        }
        exchange.outgoing = torch::cat(out);
        exchange.incoming = torch::zeros_like(torch::cat(in));
        pending.push_back(communicator.start_exchange(exchange, "parts"));
        expected.emplace_back(exchange.incoming, torch::cat(in));
        kept.push_back(exchange);
      }
      for (const auto& operation : pending) operation->wait();
      for (const auto& [found, values] : expected) EXPECT_TRUE(torch::equal(found, values));
    }
  });
}

TEST(ShareHostMemory, ARankThatDoesNotComeIsLostInTime) {
  std::promise<void> has_failed;
  run_shared(2, [&has_failed](Communicator& communicator) {
    if (communicator.rank() == 1) {
      // Still there, and does nothing.
      has_failed.get_future().wait_for(std::chrono::seconds(60));
      return;
    }
    communicator.set_timeout(std::chrono::milliseconds(300));
    const auto buffer = torch::zeros({20 << 20}, torch::kUInt8);
    const auto move = [&] { communicator.start_broadcast(buffer, 0, "late.weight")->wait(); };
    EXPECT_THAT(error_of<CommError>(move),
                AllOf(HasSubstr("late.weight"), HasSubstr("no progress in time")));
    EXPECT_TRUE(communicator.broken());
    has_failed.set_value();
  });
}

TEST(ShareHostMemory, RanksThatCallDifferentOperationsAreToldSo) {
  run_shared(2, [](Communicator& communicator) {
    const int64_t bytes = communicator.rank() == 0 ? 1000 : 2000;
    const auto buffer = torch::zeros({bytes}, torch::kUInt8);
    const auto move = [&] {
      // Which one is waited for does not matter: of one from rank 1 nothing comes before.
      const auto other =
          communicator.start_broadcast(torch::zeros({9 << 20}, torch::kUInt8), 1, "of rank 1");
      const auto weight = communicator.start_broadcast(buffer, 0, "weight");
      other->wait();
      weight->wait();
      communicator.compare("", "the end");
    };
    EXPECT_THAT(error_of<CommError>(move),
                AllOf(HasSubstr("transfer of weight: rank 0 called another operation"),
                      HasSubstr("sends 1000 bytes where 2000 are expected")));
  });
}

TEST(ShareHostMemory, IsSharedOnceAndByMoreThanOne) {
  run_shared(2, [](Communicator& communicator) {
    auto copy =
        std::make_unique<Communicator>(communicator.control_plane(), communicator.host_plane());
    const Communicator* const before = copy.get();
    EXPECT_EQ(share_host_memory(std::move(copy)).get(), before);
  });
  auto alone = std::move(make_local_communicators(1).front());
  const Communicator* const before = alone.get();
  EXPECT_EQ(share_host_memory(std::move(alone)).get(), before);
}

}  // namespace
}  // namespace fakescore
