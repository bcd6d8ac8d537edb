// Precompiled: LibTorch's headers take most of a translation unit's compile time.
#pragma once
#include <torch/torch.h>

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>
