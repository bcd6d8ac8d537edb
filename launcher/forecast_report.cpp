#include "forecast_report.hpp"

#include "format_bytes.hpp"
#include "print.hpp"

namespace fakescore::launcher {
namespace {

constexpr size_t kFirstShown = 3;
constexpr size_t kLastShown = 2;

template <typename Entry>
std::string title(const char* one, const Alike<Entry>& kind) {
  if (kind.first == kind.last) return fmt::format("{} {}", one, kind.first);
  return fmt::format("{}s {} to {}", one, kind.first, kind.last);
}

void print_kind(const Alike<RankTraffic>& kind) {
  print("  {:<24} read {:>10}, sent {:>10}, received {:>10}; holds {}\n", title("rank", kind),
        format_bytes(kind.traffic.read), format_bytes(kind.traffic.sent),
        format_bytes(kind.traffic.received), format_bytes(kind.traffic.filled));
}

void print_kind(const Alike<HostTraffic>& kind) {
  print("  {:<24} read {:>10}, sent {:>10}, received {:>10}; {} from its disk at most\n",
        title("host", kind), format_bytes(kind.traffic.read), format_bytes(kind.traffic.sent),
        format_bytes(kind.traffic.received), format_bytes(kind.traffic.from_disk));
}

template <typename Entry>
void print_kinds(const std::vector<Entry>& all) {
  const auto kinds = group_alike(all);
  const bool is_cut = kinds.size() > kFirstShown + kLastShown;
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (is_cut && i == kFirstShown) {
      i = kinds.size() - kLastShown;
      print("  ... {} more kinds\n", i - kFirstShown);
    }
    print_kind(kinds[i]);
  }
}

void print_prediction(const char* from, const std::optional<Prediction>& prediction) {
  if (!prediction) return;
  print("  {:<24} {:.3f} s; the bottleneck: {}\n", from, prediction->seconds,
        prediction->bottleneck);
}

}  // namespace

void print_forecasts(const std::vector<Forecast>& forecasts) {
  for (const Forecast& forecast : forecasts) {
    print("traffic     read by {}: {}\n", to_string(forecast.traffic.read),
          forecast.traffic.reason);
    print_kinds(forecast.traffic.ranks);
    print_kinds(forecast.traffic.hosts);
    print_prediction("from page caches", forecast.from_page_cache);
    print_prediction("from disks", forecast.from_disk);
  }
}

}  // namespace fakescore::launcher
