"""The tiny checkpoints of diffusers; a file of its own, for diffusers takes seconds to import."""

import diffusers

#: By their folder in support.MODELS.
CLASSES = {
    "wan": diffusers.WanTransformer3DModel,
    "wan_sharded": diffusers.WanTransformer3DModel,
    "wan_bf16": diffusers.WanTransformer3DModel,
    "qwen_image": diffusers.QwenImageTransformer2DModel,
    "flux": diffusers.FluxTransformer2DModel,
    "unet2d": diffusers.UNet2DModel,
}
