#include "fill/fill_context.hpp"

#include "fill/check_options.hpp"

namespace fakescore::detail {

TransferOptions FillContext::transfer_options(const std::string& phase) const {
  return {bucket_bytes_for(device, options.bucket_bytes), options.pinned_bytes, phase,
          options.progress};
}

}  // namespace fakescore::detail
