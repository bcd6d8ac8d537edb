#include "fakescore/fill/predict.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fakescore/error.hpp"
#include "fill/send_transfers.hpp"
#include "transfer/exchange_transfers.hpp"

namespace fakescore {
namespace {

/// Of a job without verification (docs/control.md has 18 with it).
constexpr double kControlCalls = 16;
/// What a chain of ranks passes on at a time: Open MPI 4.1's segment, and NCCL's slice.
constexpr double kSegmentBytes = 32 << 10;
constexpr double kSliceBytes = 512 << 10;

template <typename Figure>
Figure require(const std::optional<Figure>& figure, const char* name) {
  if (figure) return *figure;
  throw ConfigError(std::string("figure ") + name, "is needed for this prediction, and not there",
                    "measure it (fakescore measure), or state it in the file of figures");
}

class Predicting {
 public:
  Predicting(const Traffic& traffic, const JobShape& shape, const Figures& figures,
             const PredictOptions& options)
      : traffic_(traffic), shape_(shape), figures_(figures), options_(options) {}

  Prediction run() {
    if (options_.cold) add_disks();
    add_host_memory();
    if (options_.on_gpu) add_devices();
    add_link();
    add_way();
    add_control();
    double longest = 0;
    double beside = 0;
    double alone = 0;
    for (const Stage& stage : prediction_.stages) {
      if (stage.is_beside) {
        beside = std::max(beside, stage.seconds);
      } else {
        alone += stage.seconds;
      }
      if (stage.seconds <= longest && !prediction_.bottleneck.empty()) continue;
      longest = stage.seconds;
      prediction_.bottleneck = stage.name;
    }
    if (prediction_.control_seconds > longest) prediction_.bottleneck = "control messages";
    prediction_.seconds = beside + alone + prediction_.way_seconds + prediction_.control_seconds;
    return std::move(prediction_);
  }

 private:
  void add(const char* name, double seconds) { prediction_.stages.push_back({name, seconds}); }

  uint64_t most_of_a_host(uint64_t HostTraffic::*bytes) const {
    uint64_t most = 0;
    for (const HostTraffic& host : traffic_.hosts) most = std::max(most, host.*bytes);
    return most;
  }

  bool is_sent_inside() const {
    return std::any_of(traffic_.ranks.begin(), traffic_.ranks.end(), [](const RankTraffic& rank) {
      return rank.received > rank.from_other_hosts;
    });
  }

  void add_disks() {
    const uint64_t most = most_of_a_host(&HostTraffic::from_disk);
    if (most > 0) add("disk of a host", static_cast<double>(most) / require(figures_.disk, "disk"));
    if (!figures_.shared_disk) return;
    uint64_t all = 0;
    for (const HostTraffic& host : traffic_.hosts) all += host.from_disk;
    add("shared disk", static_cast<double>(all) / *figures_.shared_disk);
  }

  /// A rank copies, makes pages and takes messages one after the other; ranks of a host do so side
  /// by side, as far as its memory allows.
  void add_host_memory() {
    const Rates copy = require(figures_.copy, "copy");
    const Rates none{1, 1};
    const Rates first_write = options_.on_gpu ? none : require(figures_.first_write, "first_write");
    const Rates message = is_sent_inside() ? require(figures_.message, "message") : none;
    double slowest_rank = 0;
    double slowest_host = 0;
    for (size_t host = 0; host < traffic_.hosts.size(); ++host) {
      double seconds = 0;
      for (int i = 0; i < shape_.ranks_per_host; ++i) {
        const RankTraffic& rank =
            traffic_
                .ranks[host * static_cast<size_t>(shape_.ranks_per_host) + static_cast<size_t>(i)];
        const uint64_t filled = options_.on_gpu ? 0 : rank.filled;
        const uint64_t received = rank.received - rank.from_other_hosts;
        const auto seconds_at = [&](double Rates::*rate) {
          return static_cast<double>(rank.read) / (copy.*rate) +
                 static_cast<double>(filled) / (first_write.*rate) +
                 static_cast<double>(received) / (message.*rate);
        };
        slowest_rank = std::max(slowest_rank, seconds_at(&Rates::rank));
        seconds += seconds_at(&Rates::host);
      }
      slowest_host = std::max(slowest_host, seconds);
    }
    add("memory of a rank", slowest_rank);
    add("memory of a host", slowest_host);
  }

  void add_devices() {
    uint64_t most = 0;
    for (const RankTraffic& rank : traffic_.ranks) most = std::max(most, rank.read);
    if (most == 0) return;
    add("way to a GPU", static_cast<double>(most) / require(figures_.to_device, "to_device"));
  }

  void add_link() {
    const uint64_t out = most_of_a_host(&HostTraffic::sent);
    const uint64_t in = most_of_a_host(&HostTraffic::received);
    if (std::max(out, in) == 0) return;
    const double link = require(figures_.link, "link");
    if (traffic_.read == TeacherRead::kInTurns) {
      // Few buckets are in flight, and a turn is many: what one host sends does not go beside what
      // another does. Replicas of shards send what they have read before.
      const bool is_beside = shape_.ranks_per_copy == 1;
      prediction_.stages.push_back(
          {"links in turn", static_cast<double>(traffic_.sent_in_turn) / link, is_beside});
      return;
    }
    add("link out of a host", static_cast<double>(out) / link);
    add("link into a host", static_cast<double>(in) / link);
  }

  /// The way of the first byte to the last rank. What is passed on from rank to rank is on its way
  /// while the first ranks are at it already; a tree passes whole buckets on.
  void add_way() {
    const double parts = chain(traffic_.part_hops, part_on_a_link());
    prediction_.way_seconds = std::max({way_of_broadcasts(), chain(traffic_.whole_hops, 1), parts});
  }

  double over_links(int hops, double bytes) const {
    if (hops == 0) return 0;
    return hops * (figures_.hop_seconds + bytes / require(figures_.link, "link"));
  }

  double inside(int hops, double bytes) const {
    if (hops == 0) return 0;
    return hops * (figures_.hop_seconds + bytes / require(figures_.message, "message").rank);
  }

  double hops(int count, double bytes) const {
    return shape_.hosts > 1 ? over_links(count, bytes) : inside(count, bytes);
  }

  double way_of_broadcasts() const {
    if (traffic_.longest_way == 0) return 0;
    double piece = static_cast<double>(options_.bucket_bytes);
    if (traffic_.in_chains) {
      piece = figures_.backend.starts_with("nccl") ? kSliceBytes : kSegmentBytes;
    }
    return hops(traffic_.longest_way, piece);
  }

  /// Of exchanges in rounds, of which a link carries `part`. Each rank is some behind the one
  /// before, but what the first link takes for those is within its own time: they pass while it is
  /// at work.
  double chain(int count, double part) const {
    if (count == 0) return 0;
    const auto whole = static_cast<double>(traffic_.whole_bytes);
    const double one = std::min(round_bytes(), whole) * part;
    const double behind = std::min(detail::kRoundsInFlight * round_bytes(), whole) * part;
    const int links = std::min(count, shape_.hosts - 1);
    const double way = links > 0 ? over_links(1, one) + over_links(links - 1, behind) +
                                       inside(count - links, behind)
                                 : inside(1, one) + inside(count - 1, behind);
    return chains(count) * way;
  }

  /// Of whole tensors, what one round of exchanges carries.
  double round_bytes() const {
    detail::TransferOptions options;
    options.bucket_bytes = options_.bucket_bytes;
    return static_cast<double>(
        detail::exchanged_at_once(options_.on_gpu ? at::kCUDA : at::kCPU, options));
  }

  /// Of a round, what goes from one host to the next: the parts that its ranks keep.
  double part_on_a_link() const {
    return static_cast<double>(std::min(shape_.ranks_per_host, shape_.ranks_per_copy)) /
           shape_.ranks_per_copy;
  }

  /// How often ranks that pass something on so many times begin anew.
  double chains(int hops) const {
    const int latest = detail::kRoundsInFlight * std::max(hops - 1, 0);
    const auto most = detail::bytes_between_agreements(latest, options_.bucket_bytes);
    return std::max(
        1.0, std::ceil(static_cast<double>(traffic_.whole_bytes) / static_cast<double>(most)));
  }

  /// Who reads for itself says now and then that it is there. Exchanges begin and end with an
  /// agreement each time, and so does what replicas read before.
  double control_calls() const {
    const bool has_parts = shape_.ranks_per_copy > 1;
    if (traffic_.read == TeacherRead::kEveryRank) {
      return kControlCalls + std::floor(static_cast<double>(traffic_.whole_bytes) /
                                        static_cast<double>(detail::kBytesBetweenAgreements));
    }
    if (!has_parts && traffic_.whole_hops == 0) return kControlCalls;
    const double each = has_parts && traffic_.read == TeacherRead::kInTurns ? 3 : 2;
    return kControlCalls + 1 + each * chains(has_parts ? traffic_.part_hops : traffic_.whole_hops);
  }

  void add_control() {
    if (shape_.world_size() == 1) return;
    prediction_.control_seconds = control_calls() * shape_.world_size() *
                                  require(figures_.control_seconds, "control_seconds");
  }

  const Traffic& traffic_;
  const JobShape& shape_;
  const Figures& figures_;
  const PredictOptions& options_;
  Prediction prediction_;
};

}  // namespace

Prediction predict(const Traffic& traffic, const JobShape& shape, const Figures& figures,
                   const PredictOptions& options) {
  return Predicting(traffic, shape, figures, options).run();
}

}  // namespace fakescore
