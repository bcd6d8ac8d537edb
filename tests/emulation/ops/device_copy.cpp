#include "ops/device_copy.hpp"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/copy_native.h>
#include <c10/core/GradMode.h>
#include <c10/cuda/CUDAGuard.h>

#include "emulation.hpp"

namespace fakescore::emulation {
namespace {

/// Whether LibTorch copies with cudaMemcpyAsync alone.
bool is_plain(const at::Tensor& to, const at::Tensor& from) {
  return to.scalar_type() == from.scalar_type() && to.sizes() == from.sizes() &&
         to.strides() == from.strides() && to.is_non_overlapping_and_dense() &&
         to.is_conj() == from.is_conj() && to.is_neg() == from.is_neg();
}

/// A CPU tensor over the memory of a CUDA tensor. Like a launched kernel, it does not keep that
/// memory alive: who frees it too early finds somebody else's data in it.
at::Tensor on_host(const at::Tensor& tensor) {
  void* const address = attached()->host_address(tensor.data_ptr());
  at::Tensor view = at::from_blob(address, tensor.sizes(), tensor.strides(),
                                  at::TensorOptions().dtype(tensor.scalar_type()));
  view._set_conj(tensor.is_conj());
  view._set_neg(tensor.is_neg());
  return view;
}

/// What comes on `later` waits for what is on `earlier` now.
void order(const c10::cuda::CUDAStream& earlier, const c10::cuda::CUDAStream& later) {
  if (earlier == later) return;
  at::cuda::CUDAEvent event;
  event.record(earlier);
  event.block(later);
}

}  // namespace

at::Tensor& copy_on_stream(at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  if (!to.is_cuda() || !from.is_cuda() || to.numel() == 0 || is_plain(to, from)) {
    return at::native::copy_(to, from, non_blocking);
  }
  // As LibTorch has it: on the source's stream, and between devices in order with the
  // destination's.
  const auto copying = c10::cuda::getCurrentCUDAStream(from.device().index());
  const auto receiving = c10::cuda::getCurrentCUDAStream(to.device().index());
  const c10::cuda::CUDAGuard guard(from.device());
  order(receiving, copying);
  attached()->submit(copying.stream(), "copy kernel",
                     [to_host = on_host(to), from_host = on_host(from)] {
                       const c10::NoGradGuard no_grad;
                       to_host.copy_(from_host);
                     });
  order(copying, receiving);
  return to;
}

}  // namespace fakescore::emulation
