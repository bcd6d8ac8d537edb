#include "fakescore/fill/measure.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "comm/control/agreement.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fill/file_stretch.hpp"
#include "fill/job_hosts.hpp"
#include "tensor/storage_bytes.hpp"
#include "transfer/bucket_plan.hpp"
#include "transfer/keep_in_flight.hpp"
#include "transfer/populate.hpp"

namespace fakescore {
namespace {

using detail::FileStretch;
using detail::JobHosts;

constexpr const char* kWhat = "measure";
constexpr int kCallsMeasured = 50;
constexpr int kHopsMeasured = 50;
/// What is shorter tells nothing.
constexpr uint64_t kLeastBytes = uint64_t{1} << 20;
constexpr uint64_t kLeastPage = 4096;
/// Hosts that read from file systems of their own get this part of what each gets alone, or more.
constexpr double kOwnDisks = 0.75;

using Action = std::function<void()>;
using Begin = std::function<std::unique_ptr<PendingOperation>(uint64_t begin, uint64_t bytes)>;

class Measuring {
 public:
  Measuring(Communicator& communicator, const MeasureOptions& options, JobHosts hosts)
      : communicator_(communicator), options_(options), hosts_(std::move(hosts)) {
    step_ = communicator.device().is_cpu() ? kDefaultBucketBytes : kDefaultDeviceBucketBytes;
  }

  Measured run() {
    detail::agree_on_value(communicator_, kWhat, "options",
                           std::to_string(options_.rounds) + " rounds of " +
                               std::to_string(options_.bytes) + " bytes");
    run_agreed(communicator_, kWhat, ErrorCode::kTeacher, [&] { open(); });
    measured_.hosts = hosts_.count();
    measured_.ranks_per_host = hosts_.ranks_per_host();
    Figures& figures = measured_.figures;
    // "nccl over mpi" is NCCL's broadcasts.
    figures.backend = communicator_.backend();
    measure_memory();
    measure_disk();
    if (communicator_.world_size() > 1) {
      measure_messages();
      measure_control();
    }
    if (!communicator_.device().is_cpu()) measure_device();
    return measured_;
  }

 private:
  void open() {
    if (options_.rounds < 1 || options_.bytes < kLeastBytes) {
      throw ConfigError("measure", "rounds or bytes are too few",
                        "give 1 round or more, and 1 MiB or more");
    }
    file_ = std::make_unique<FileStretch>(options_.file, options_.bytes);
    if (file_->bytes() < kLeastBytes) {
      throw ConfigError(options_.file.string(), "is too short to measure with",
                        "give a file of 1 MiB or more, such as the teacher's");
    }
  }

  bool is_first() const { return communicator_.rank() == 0; }
  int ranks_here() const { return hosts_.ranks_per_host(); }
  uint64_t bytes() const { return options_.bytes; }

  void meet() { communicator_.compare("", kWhat); }

  /// Seconds until all ranks that take part have done it; what they do before is not counted. The
  /// fastest round counts: what else a machine does can only slow one down.
  double seconds_of(bool takes_part, const Action& prepare, const Action& action) {
    double fastest = std::numeric_limits<double>::infinity();
    for (int round = 0; round < options_.rounds; ++round) {
      run_agreed(communicator_, kWhat, ErrorCode::kMemory, prepare);
      int64_t own = 1;
      run_agreed(communicator_, kWhat, ErrorCode::kTeacher, [&] {
        const auto begin = std::chrono::steady_clock::now();
        if (takes_part) action();
        const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - begin;
        if (takes_part) own = std::max<int64_t>(own, took.count());
      });
      int64_t slowest = 1;
      for (const std::string& text : communicator_.all_gather(std::to_string(own), kWhat)) {
        slowest = std::max<int64_t>(slowest, std::stoll(text));
      }
      fastest = std::min(fastest, 1e-9 * static_cast<double>(slowest));
    }
    return fastest;
  }

  Rates rates_of(uint64_t moved, const Action& prepare, const Action& action) {
    const double alone = seconds_of(is_first(), prepare, action);
    const double all = seconds_of(true, prepare, action);
    const auto each = static_cast<double>(moved);
    return {each / alone, each * ranks_here() / all};
  }

  void for_each_step(uint64_t all, const std::function<void(uint64_t, uint64_t)>& use) const {
    for (uint64_t begin = 0; begin < all; begin += step_) use(begin, std::min(step_, all - begin));
  }

  std::byte* data(uint64_t begin) const {
    return static_cast<std::byte*>(memory_.mutable_data_ptr()) + begin;
  }

  void measure_memory() {
    const auto renew = [this] {
      memory_ = at::Tensor();
      memory_ = at::empty({static_cast<int64_t>(bytes())}, at::kByte);
    };
    measured_.figures.first_write = rates_of(bytes(), renew, [this] {
      for_each_step(bytes(), [this](uint64_t begin, uint64_t length) {
        detail::populate_pages(data(begin), length);
        // Where the kernel knows no such hint, the pages are made now.
        for (uint64_t at = 0; at < length; at += kLeastPage) data(begin)[at] = std::byte{0};
      });
    });
    // The first reading fills the page cache.
    const auto read = [this] { read_stretch(0, file_->bytes()); };
    run_agreed(communicator_, kWhat, ErrorCode::kTeacher, read);
    measured_.figures.copy = rates_of(
        file_->bytes(), [] {}, read);
  }

  /// Into memory that was written to right before, as a fill reads.
  void read_stretch(uint64_t first, uint64_t last) const {
    for_each_step(last - first, [&](uint64_t begin, uint64_t length) {
      file_->read(first + begin, {data(0), length});
    });
  }

  /// Ranks of a host read a part each, after its first rank had the pages given back.
  double read_cold(bool takes_part) {
    const uint64_t part = file_->bytes() / static_cast<uint64_t>(ranks_here());
    const uint64_t first = part * static_cast<uint64_t>(hosts_.place);
    const auto cool = [this] {
      if (hosts_.place != 0) return;
      file_->cool();
      measured_.cached = std::max(measured_.cached, file_->cached());
    };
    return seconds_of(takes_part, cool, [&] { read_stretch(first, first + part); });
  }

  void measure_disk() {
    const auto all = static_cast<double>(file_->bytes());
    const double alone = read_cold(hosts_.host == 0);
    const double together = hosts_.count() > 1 ? read_cold(true) : alone;
    for (const std::string& text :
         communicator_.all_gather(std::to_string(measured_.cached), kWhat)) {
      measured_.cached = std::max(measured_.cached, std::stod(text));
    }
    if (measured_.cached > kMostCached) return;
    measured_.figures.disk = all / alone;
    // Else it is not known what more hosts would get of it.
    const double of_all = all * hosts_.count() / together;
    if (of_all < kOwnDisks * hosts_.count() * all / alone) measured_.figures.shared_disk = of_all;
  }

  void in_flight(uint64_t all, const Begin& start) const {
    std::vector<std::unique_ptr<PendingOperation>> pending(detail::kBucketsInFlight);
    const uint64_t steps = (all + step_ - 1) / step_;
    detail::keep_in_flight(
        static_cast<size_t>(steps), detail::kBucketsInFlight,
        [&](size_t i) {
          const uint64_t begin = i * step_;
          pending[i % detail::kBucketsInFlight] = start(begin, std::min(step_, all - begin));
        },
        [&](size_t i) {
          pending[i % detail::kBucketsInFlight]->wait();
          pending[i % detail::kBucketsInFlight].reset();
        });
  }

  /// Where what is in flight lands: a fill makes the pages of as many buckets right before.
  at::Tensor landing(uint64_t begin, uint64_t length) const {
    const auto first = static_cast<int64_t>(begin % (detail::kBucketsInFlight * step_));
    return memory_.slice(0, first, first + static_cast<int64_t>(length));
  }

  /// All that this rank sends goes to one rank, and all that it receives comes from one; -1: none.
  void exchange(int to, int from) {
    const at::Tensor none = outgoing_.slice(0, 0, 0);
    in_flight(bytes(), [&](uint64_t begin, uint64_t length) {
      const auto first = static_cast<int64_t>(begin);
      const auto count = static_cast<int64_t>(length);
      Exchange parcels{none, {}, none, {}};
      if (to >= 0) {
        parcels.outgoing = outgoing_.slice(0, first, first + count);
        parcels.sends = {{to, count}};
      }
      if (from >= 0) {
        parcels.incoming = landing(begin, length);
        parcels.receives = {{from, count}};
      }
      return communicator_.start_exchange(parcels, kWhat);
    });
  }

  void measure_messages() {
    const auto on_device = at::TensorOptions(communicator_.device()).dtype(at::kByte);
    run_agreed(communicator_, kWhat, ErrorCode::kMemory, [&] {
      memory_ = at::zeros({static_cast<int64_t>(detail::kBucketsInFlight * step_)}, on_device);
      outgoing_ = at::zeros({static_cast<int64_t>(bytes())}, on_device);
    });
    const auto all = static_cast<double>(bytes());
    const auto& here = hosts_.ranks[static_cast<size_t>(hosts_.host)];
    const auto neighbour = [&](int step) {
      return here[static_cast<size_t>((hosts_.place + step + ranks_here()) % ranks_here())];
    };
    if (ranks_here() > 1) {
      const bool is_second = communicator_.rank() == hosts_.ranks[0][1];
      const double alone = seconds_of(
          true, [] {}, [&] { exchange(is_first() ? hosts_.ranks[0][1] : -1, is_second ? 0 : -1); });
      const double together =
          hosts_.count() == 1 ? seconds_of(
                                    true, [] {}, [this] { broadcast(); })
                              : seconds_of(
                                    true, [] {}, [&] { exchange(neighbour(1), neighbour(-1)); });
      const int receivers = hosts_.count() == 1 ? ranks_here() - 1 : ranks_here();
      measured_.figures.message = Rates{all / alone, all * receivers / together};
    }
    if (hosts_.count() > 1) {
      // One way: a fill seldom uses both at once.
      const bool sends = hosts_.host % 2 == 0;
      const int peer = hosts_.host + (sends ? 1 : -1);
      const bool has_peer = peer < hosts_.count();
      const int partner =
          has_peer ? hosts_.ranks[static_cast<size_t>(peer)][static_cast<size_t>(hosts_.place)]
                   : -1;
      const double seconds = seconds_of(
          true, [] {}, [&] { exchange(sends ? partner : -1, sends ? -1 : partner); });
      measured_.figures.link = all * ranks_here() / seconds;
    }
    outgoing_ = at::Tensor();
  }

  /// A bucket of each rank in turn: of one alone, two ranks would leave half of the host idle.
  void broadcast() {
    in_flight(bytes(), [this](uint64_t begin, uint64_t length) {
      const auto first = static_cast<int64_t>(begin);
      const int root = static_cast<int>(begin / step_ % static_cast<uint64_t>(ranks_here()));
      const at::Tensor buffer =
          communicator_.rank() == root
              ? outgoing_.slice(0, first, first + static_cast<int64_t>(length))
              : landing(begin, length);
      return communicator_.start_broadcast(buffer, root, kWhat);
    });
  }

  void measure_control() {
    const double calls = seconds_of(
        true, [] {},
        [this] {
          for (int i = 0; i < kCallsMeasured; ++i) meet();
        });
    measured_.figures.control_seconds = calls / kCallsMeasured / communicator_.world_size();
    const int last = communicator_.world_size() - 1;
    const at::Tensor none = memory_.slice(0, 0, 0);
    const at::Tensor byte = memory_.slice(0, 0, 1);
    const double hops = seconds_of(
        true, [] {},
        [&] {
          for (int i = 0; i < kHopsMeasured; ++i) {
            const int from = i % 2 == 0 ? 0 : last;
            Exchange parcel{none, {}, none, {}};
            if (communicator_.rank() == from) parcel = {byte, {{last - from, 1}}, none, {}};
            if (communicator_.rank() == last - from) parcel = {none, {}, byte, {{from, 1}}};
            communicator_.start_exchange(parcel, kWhat)->wait();
          }
        });
    measured_.figures.hop_seconds = hops / kHopsMeasured;
  }

  void measure_device() {
    const auto step = static_cast<int64_t>(step_);
    at::Tensor pinned;
    at::Tensor target;
    run_agreed(communicator_, kWhat, ErrorCode::kMemory, [&] {
      pinned = at::zeros({step}, at::TensorOptions(at::kByte).pinned_memory(true));
      target = at::empty({step}, at::TensorOptions(communicator_.device()).dtype(at::kByte));
    });
    const double seconds = seconds_of(
        true, [] {},
        [&] { for_each_step(bytes(), [&](uint64_t, uint64_t) { target.copy_(pinned); }); });
    measured_.figures.to_device = static_cast<double>(bytes()) / seconds;
  }

  Communicator& communicator_;
  const MeasureOptions& options_;
  JobHosts hosts_;
  uint64_t step_ = 0;
  std::unique_ptr<FileStretch> file_;
  at::Tensor memory_;    ///< that is written
  at::Tensor outgoing_;  ///< that is sent
  Measured measured_;
};

}  // namespace

Measured measure_figures(Communicator& communicator, const MeasureOptions& options) {
  return Measuring(communicator, options, detail::find_hosts(communicator)).run();
}

}  // namespace fakescore
