#include "fill/check_options.hpp"

#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

void check_pinned_bytes(size_t pinned_bytes) {
  if (pinned_bytes >= kMinPinnedBytes) return;
  throw ConfigError(
      "option pinned_bytes",
      std::to_string(pinned_bytes) + " is less than " + std::to_string(kMinPinnedBytes),
      "leave it out: the default suits most jobs");
}

}  // namespace

size_t bucket_bytes_for(at::Device device, std::optional<size_t> chosen) {
  return chosen.value_or(device.is_cpu() ? kDefaultBucketBytes : kDefaultDeviceBucketBytes);
}

void check_root_and_buckets(int world_size, int root, std::optional<size_t> bucket_bytes) {
  if (root < 0 || root >= world_size) {
    throw ConfigError("option root",
                      std::to_string(root) + " is not a rank of a job of " +
                          std::to_string(world_size) + " ranks",
                      "give a rank from 0 to the world size less one");
  }
  if (bucket_bytes && *bucket_bytes < kMinBucketBytes) {
    throw ConfigError(
        "option bucket_bytes",
        std::to_string(*bucket_bytes) + " is less than " + std::to_string(kMinBucketBytes),
        "leave it out: the default suits most jobs");
  }
}

void check_fill_options(int world_size, const FillOptions& options) {
  check_root_and_buckets(world_size, options.root, options.bucket_bytes);
  check_pinned_bytes(options.pinned_bytes);
  if (options.timeout && options.timeout->count() <= 0) {
    throw ConfigError("option timeout",
                      std::to_string(options.timeout->count()) +
                          " ms is not a valid timeout: it must be more than 0",
                      "give more than the slowest step of any rank takes");
  }
}

void require_whole(const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& entry : tensors) {
    if (!entry.shard) continue;
    throw ConfigError(entry.name, "is a shard of a larger tensor, which this call does not take",
                      "give whole tensors: before they are sharded");
  }
}

at::Device device_for(const FillOptions& options, const Communicator& communicator) {
  const at::Device own = communicator.device();
  const at::Device wanted = options.device.value_or(own);
  return !wanted.has_index() && wanted.type() == own.type() ? own : wanted;
}

std::string describe_bytes(std::optional<size_t> bytes) {
  return bytes ? std::to_string(*bytes) : "default";
}

std::string describe_options(const FillOptions& options, at::Device device) {
  // Ranks have GPUs of their own: the index may differ.
  return "device=" + c10::DeviceTypeName(device.type(), /*lower_case=*/true) +
         " root=" + std::to_string(options.root) +
         " read=" + std::to_string(static_cast<int>(options.read)) +
         " bucket_bytes=" + describe_bytes(options.bucket_bytes) +
         " strict=" + std::to_string(options.strict) + " verify=" + std::to_string(options.verify);
}

}  // namespace fakescore::detail
