#include "comm/bulk/collect.hpp"

#include <ATen/Functions.h>

#include <cstring>

#include "tensor/storage_bytes.hpp"

namespace fakescore::detail {
namespace {

at::Tensor bytes_of(const std::string& text) {
  const at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  if (!text.empty()) std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  return bytes;
}

std::string text_of(const at::Tensor& bytes) {
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())};
}

std::string number(int64_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

int64_t number_in(const std::string& text) {
  int64_t value = 0;
  std::memcpy(&value, text.data(), sizeof value);
  return value;
}

/// Messages whose lengths, by rank, all know that receive them.
std::vector<std::string> collect_of_length(Communicator& communicator, int root,
                                           const std::string& message,
                                           const std::vector<int64_t>& lengths,
                                           const std::string& what) {
  const at::Tensor own = bytes_of(message);
  const at::Tensor none = bytes_of("");
  if (communicator.rank() != root) {
    communicator.start_exchange({own, {{root, own.numel()}}, none, {}}, what)->wait();
    return {};
  }
  Exchange exchange{none, {}, none, {}};
  int64_t bytes = 0;
  for (int peer = 0; peer < communicator.world_size(); ++peer) {
    if (peer == root) continue;
    exchange.receives.push_back({peer, lengths[static_cast<size_t>(peer)]});
    bytes += exchange.receives.back().bytes;
  }
  exchange.incoming = at::empty({bytes}, at::kByte);
  communicator.start_exchange(exchange, what)->wait();
  std::vector<std::string> messages(lengths.size());
  messages[static_cast<size_t>(root)] = message;
  size_t begin = 0;
  for (const Parcel& parcel : exchange.receives) {
    const auto length = static_cast<size_t>(parcel.bytes);
    messages[static_cast<size_t>(parcel.rank)] = text_of(part(exchange.incoming, begin, length));
    begin += length;
  }
  return messages;
}

std::string hand_out_of_length(Communicator& communicator, int root,
                               const std::vector<std::string>& messages, int64_t length,
                               const std::string& what) {
  const at::Tensor none = bytes_of("");
  if (communicator.rank() != root) {
    const at::Tensor incoming = at::empty({length}, at::kByte);
    communicator.start_exchange({none, {}, incoming, {{root, length}}}, what)->wait();
    return text_of(incoming);
  }
  Exchange exchange{none, {}, none, {}};
  std::string all;
  for (int peer = 0; peer < communicator.world_size(); ++peer) {
    if (peer == root) continue;
    const std::string& message = messages[static_cast<size_t>(peer)];
    exchange.sends.push_back({peer, static_cast<int64_t>(message.size())});
    all += message;
  }
  exchange.outgoing = bytes_of(all);
  communicator.start_exchange(exchange, what)->wait();
  return messages[static_cast<size_t>(root)];
}

}  // namespace

std::vector<std::string> collect_at(Communicator& communicator, int root,
                                    const std::string& message, const std::string& what) {
  const std::vector<int64_t> all_numbers(static_cast<size_t>(communicator.world_size()),
                                         sizeof(int64_t));
  const auto lengths = collect_of_length(
      communicator, root, number(static_cast<int64_t>(message.size())), all_numbers, what);
  std::vector<int64_t> by_rank;
  for (const std::string& length : lengths) by_rank.push_back(number_in(length));
  return collect_of_length(communicator, root, message, by_rank, what);
}

std::string hand_out_from(Communicator& communicator, int root,
                          const std::vector<std::string>& messages, const std::string& what) {
  std::vector<std::string> lengths;
  for (const std::string& message : messages) {
    lengths.push_back(number(static_cast<int64_t>(message.size())));
  }
  const std::string own = hand_out_of_length(communicator, root, lengths, sizeof(int64_t), what);
  return hand_out_of_length(communicator, root, messages, number_in(own), what);
}

}  // namespace fakescore::detail
