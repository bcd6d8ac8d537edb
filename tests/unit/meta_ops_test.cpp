#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <array>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "fakescore/error.hpp"
#include "unit/meta_compare.hpp"

namespace fakescore::testing {
namespace {

using at::Tensor;

struct OpCase {
  std::string name;
  std::function<Tensor()> build;
};

std::string op_case_name(const ::testing::TestParamInfo<OpCase>& info) { return info.param.name; }

std::array<float, 3>& outside_values() {
  static std::array<float, 3> values{1, 2, 3};
  return values;
}

Tensor outside_blob() { return torch::from_blob(outside_values().data(), {3}); }

Tensor outside_meta() {
  Tensor meta;
  // A thread of its own has no guard.
  std::thread([&] { meta = torch::ones(4, torch::kMeta); }).join();
  return meta;
}

/// What these build must come out the same under the guard, whether it stayed meta or not.
class MetaOp : public ::testing::TestWithParam<OpCase> {};

TEST_P(MetaOp, EqualsEager) {
  outside_values() = {1, 2, 3};
  const Tensor want = build_eagerly(GetParam().build, RandomMode::kPerOp);
  outside_values() = {1, 2, 3};
  const auto [built, tape] = build_on_meta(GetParam().build, RandomMode::kPerOp);
  EXPECT_TRUE(identical(tape->replay({built})[0], want));
  EXPECT_TRUE(identical(tape->replay({built})[0], want)) << "the second time";
}

std::vector<OpCase> real_and_meta_cases() {
  return {
      {"tensor_of_a_list",
       [] {
         return torch::tensor({1., 2.});
       }},
      {"tensor_of_a_vector",
       [] {
         return torch::tensor(std::vector<float>{1, 2, 3});
       }},
      {"tensor_of_a_number", [] { return torch::tensor(3.5); }},
      {"tensor_of_nested_lists",
       [] {
         return torch::tensor({{1, 2}, {3, 4}});
       }},
      {"scalar_tensor", [] { return at::scalar_tensor(2); }},
      {"real_times_meta",
       [] {
         return torch::tensor(std::vector<float>{1, 2, 3}) * torch::arange(3);
       }},
      {"blob_times_meta", [] { return outside_blob() * torch::full({3}, 2.0); }},
      {"options_of_a_meta",
       [] {
         const Tensor x = torch::arange(3.);
         return x + torch::ones({3}, x.options()) + torch::tensor({1., 2., 3.}).to(x.options()) +
                torch::tensor(5).to(x.options()) + torch::rand({3}, x.options());
       }},
      {"options_of_a_meta_alone",
       [] {
         return torch::tensor({1.f, 2.f}).to(torch::ones(1).options());
       }},
      {"blob_alone", [] { return outside_blob().clone(); }},
      {"copy_of_a_blob", [] { return torch::empty({3}).copy_(outside_blob()); }},
      {"meta_into_real", [] { return outside_blob().copy_(torch::arange(3) + 5); }},
      {"real_draw", [] { return torch::empty({5}, torch::kCPU).normal_() + torch::randn(5); }},
      {"index_put_with_a_list",
       [] {
         Tensor x = torch::zeros(6);
         return x.index_put_({torch::tensor({1, 3})}, 5.0);
       }},
      {"empty_on_the_cpu_and_a_pointer",
       [] {
         Tensor x = torch::empty({3}, torch::kCPU);
         for (int i = 0; i < 3; ++i) x.data_ptr<float>()[i] = static_cast<float>(i);
         return x;
       }},
      {"expanded_real_times_meta",
       [] {
         return torch::tensor({2.f, 3.f}).unsqueeze(1).expand({2, 3}) * torch::ones({2, 3});
       }},
      {"view_of_a_real_beside_a_meta",
       [] {
         return torch::meshgrid({torch::tensor({1.f, 2.f}), torch::arange(3.)}, "ij")[0].clone();
       }},
  };
}

std::vector<OpCase> value_cases() {
  return {
      {"item", [] { return torch::full({3}, (torch::arange(5) * 3)[2].item<int>()); }},
      {"truth", [] { return torch::full({2}, (torch::arange(5).sum() > 3).item<bool>() ? 1 : 0); }},
      {"equal", [] { return torch::full({2}, torch::equal(torch::ones(2), torch::ones(2))); }},
      {"nonzero", [] { return torch::arange(5).remainder(2).nonzero() * 2; }},
      {"masked_select",
       [] {
         const Tensor a = torch::arange(5);
         return a.masked_select(a > 2) + torch::ones(2);
       }},
      {"boolean_index",
       [] {
         const Tensor a = torch::randn(50);
         return a.index({a > 0}) * 2;
       }},
      {"boolean_index_put",
       [] {
         Tensor a = torch::randn(50);
         return a.index_put_({a > 0}, 7.0);
       }},
      {"unique", [] { return std::get<0>(at::_unique(torch::randint(4, {20}))); }},
      {"repeat_interleave",
       [] { return torch::repeat_interleave(torch::arange(3), torch::arange(3)); }},
      {"histc", [] { return torch::histc(torch::arange(8.), 4); }},
      {"eigvals", [] { return torch::real(at::linalg_eigvals(torch::eye(3))); }},
      {"randperm", [] { return torch::randperm(7) * 2; }},
      {"value_read_before_a_write",
       [] {
         Tensor a = torch::arange(3.);
         const Tensor b = torch::full({2}, a.sum().item<double>());
         a.mul_(10);
         return b + a.sum();
       }},
  };
}

std::vector<OpCase> storage_cases() {
  return {
      {"foreach",
       [] {
         std::vector<Tensor> list{torch::zeros(3), torch::ones(3)};
         at::_foreach_add_(list, 2.0);
         return list[0] + list[1];
       }},
      {"resize", [] { return torch::ones(3).resize_({5}).fill_(4); }},
      {"set",
       [] {
         Tensor x = torch::ones(3);
         Tensor y = torch::arange(4.);
         x.set_(y);
         y.add_(1);
         return x;
       }},
      {"set_data",
       [] {
         Tensor x = torch::ones(3);
         x.set_data(torch::arange(3.) * 2);
         return x;
       }},
      {"set_data_to_a_real",
       [] {
         Tensor x = torch::ones(3).set_requires_grad(true);
         x.set_data(torch::tensor({1.f, 2.f, 3.f}));
         return x;
       }},
      {"set_data_of_a_real",
       [] {
         Tensor x = torch::tensor({1.f, 2.f, 3.f});
         x.set_data(torch::randn(3));
         return x;
       }},
      {"out_variant",
       [] {
         Tensor out = torch::empty({0});
         at::add_out(out, torch::ones(3), torch::arange(3.));
         return out;
       }},
      {"write_through_data",
       [] {
         Tensor x = torch::ones(3).set_requires_grad(true);
         x.data().mul_(5);
         return x;
       }},
      {"write_without_grad",
       [] {
         Tensor x = torch::ones(3).set_requires_grad(true);
         const torch::NoGradGuard no_grad;
         return x.mul_(3);
       }},
      {"grad_history", [] { return (torch::ones(3).set_requires_grad(true) * 2).detach(); }},
      {"row_of_a_transposed",
       [] {
         Tensor x = torch::zeros({2, 3});
         x.t_();
         x[0].fill_(7);
         return x;
       }},
      {"many_temporaries",
       [] {
         Tensor a;
         for (int i = 0; i < 3000; ++i) a = torch::full({3}, i);
         return a.clone();
       }},
      {"complex_views",
       [] {
         const Tensor z = torch::polar(torch::ones(3), torch::arange(3.));
         torch::real(z).mul_(2);
         return torch::view_as_real(z.conj().resolve_conj());
       }},
      {"conjugate_view", [] { return torch::polar(torch::ones(3), torch::arange(3.)).conj(); }},
      {"negative_view",
       [] { return torch::imag(torch::polar(torch::ones(3), torch::arange(3.)).conj()); }},
      {"zero_elements",
       [] {
         return torch::zeros({3, 0}).sum(1);
       }},
      {"zero_dimensions", [] { return torch::ones({}) * 3; }},
      {"mixed_dtypes", [] { return (torch::arange(3) / 2.5).to(torch::kHalf).to(torch::kDouble); }},
      {"negative_strides_copy",
       [] {
         return torch::arange(6).flip(0).view({2, 3}).t();
       }},
      {"overwritten", [] { return torch::randn(9).normal_().uniform_(); }},
      {"default_dtype",
       [] {
         const auto before = c10::get_default_dtype();
         torch::set_default_dtype(caffe2::TypeMeta::Make<double>());
         const Tensor x = torch::arange(3) / 3;
         torch::set_default_dtype(before);
         return x * 3;
       }},
      {"own_generator",
       [] {
         auto generator = at::make_generator<at::CPUGeneratorImpl>(5);
         return torch::empty({4}).normal_(0, 1, generator) + torch::empty({4}).normal_(0, 1);
       }},
  };
}

INSTANTIATE_TEST_SUITE_P(RealAndMeta, MetaOp, ::testing::ValuesIn(real_and_meta_cases()),
                         op_case_name);
INSTANTIATE_TEST_SUITE_P(Values, MetaOp, ::testing::ValuesIn(value_cases()), op_case_name);
INSTANTIATE_TEST_SUITE_P(Storage, MetaOp, ::testing::ValuesIn(storage_cases()), op_case_name);

struct RefusedCase {
  std::string name;
  std::string subject;  ///< the op that must be named
  std::string message;  ///< part of it
  std::function<Tensor()> build;
};

class RefusedOp : public ::testing::TestWithParam<RefusedCase> {};

TEST_P(RefusedOp, ThrowsAtTheOpAndNamesIt) {
  const MetaInitGuard guard(options_for(RandomMode::kPerOp));
  try {
    GetParam().build();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const BuildError& error) {
    EXPECT_EQ(error.info().phase, "build");
    EXPECT_EQ(error.info().subject, GetParam().subject);
    EXPECT_THAT(error.info().message, ::testing::HasSubstr(GetParam().message));
    EXPECT_FALSE(error.info().remedy.empty());
  }
}

std::vector<RefusedCase> refused_cases() {
  return {
      {"meta_tensor_of_another_maker", "aten::mul", "not made under",
       [] { return outside_meta() * 2; }},
      {"sparse", "aten::to_sparse", "sparse", [] { return torch::eye(3).to_sparse(); }},
      {"other_device", "aten::ones", "cuda", [] { return torch::ones(3, torch::kCUDA); }},
      {"move_to_another_device", "aten::to", "cuda",
       [] { return torch::ones(3).to(torch::kCUDA); }},
      {"pinned_memory", "aten::ones", "pinned",
       [] { return torch::ones(3, torch::TensorOptions().pinned_memory(true)); }},
      {"write_to_a_view_of_a_real", "aten::mul_", "view of a real",
       [] {
         return torch::meshgrid({torch::tensor({1.f, 2.f}), torch::arange(3.)}, "ij")[0].mul_(2);
       }},
      {"write_to_a_real_and_a_meta", "aten::_foreach_add_", "real and to a meta",
       [] {
         std::vector<Tensor> list{torch::zeros(3), torch::zeros(3, torch::kCPU)};
         at::_foreach_add_(list, 2.0);
         return list[0];
       }},
      {"share_a_real_tensors_storage", "aten::set_", "share the storage",
       [] {
         Tensor x = torch::ones(3);
         return x.set_(torch::tensor({1.f, 2.f, 3.f}));
       }},
  };
}

INSTANTIATE_TEST_SUITE_P(All, RefusedOp, ::testing::ValuesIn(refused_cases()),
                         [](const ::testing::TestParamInfo<RefusedCase>& test) {
                           return test.param.name;
                         });

/// What only changes values calls its meta kernel once for the same numbers; all else is as if it
/// did each time.
std::vector<OpCase> fill_cases() {
  return {
      {"cauchy",
       [] {
         return torch::empty({4, 5}).cauchy_(1, 2);
       }},
      {"clamp",
       [] {
         return torch::randn({4, 5}).clamp_(-0.5, 0.5);
       }},
      {"clamp_by_tensors",
       [] {
         return torch::randn({4, 5}).clamp_(torch::zeros({5}), torch::ones({5}));
       }},
      {"erfinv",
       [] {
         return torch::rand({4, 5}).erfinv_();
       }},
      {"exponential",
       [] {
         return torch::empty({4, 5}).exponential_(2);
       }},
      {"fill",
       [] {
         return torch::empty({4, 5}).fill_(3);
       }},
      {"fill_by_a_tensor",
       [] {
         return torch::empty({4, 5}).fill_(torch::rand({}));
       }},
      {"geometric",
       [] {
         return torch::empty({4, 5}).geometric_(0.25);
       }},
      {"log_normal",
       [] {
         return torch::empty({4, 5}).log_normal_(1, 2);
       }},
      {"normal_and_zero_of_rows",
       [] {
         Tensor x = torch::empty({4, 5}).normal_(1, 2);
         x[1].zero_();
         x.select(1, 2).uniform_(5, 6);
         return x;
       }},
      {"integers",
       [] {
         return torch::empty({4, 5}, torch::kLong).fill_(3).clamp_(1, 2);
       }},
      {"bfloat16",
       [] {
         return torch::empty({4, 5}, torch::kBFloat16).uniform_(-1, 1);
       }},
      {"chained",
       [] { return torch::empty({64}).uniform_(-0.9, 0.9).erfinv_().mul_(2).clamp_(-1, 1); }},
  };
}

INSTANTIATE_TEST_SUITE_P(Fill, MetaOp, ::testing::ValuesIn(fill_cases()), op_case_name);

TEST(MetaFill, RefusesWhatEagerRefuses) {
  const auto weight = [] { return torch::zeros({3}); };
  const std::vector<std::function<void()>> refused{
      [] { torch::ones({3}, torch::requires_grad()).normal_(); },
      [] { torch::zeros({1}).expand({3}).clamp_(0, 1); },
      [] { torch::zeros({3}, torch::kLong).erfinv_(); },
      [=] { weight().normal_(0, -1); },
      [=] { weight().clamp_(std::optional<at::Scalar>(), std::optional<at::Scalar>()); },
  };
  for (size_t i = 0; i < refused.size(); ++i) {
    EXPECT_THROW(refused[i](), c10::Error) << i;
    const MetaInitGuard guard;
    weight().normal_().erfinv_().clamp_(0, 1);
    EXPECT_THROW(refused[i](), c10::Error) << i;
    EXPECT_THROW(refused[i](), c10::Error) << i << ", the second time";
  }
}

TEST(MetaFill, CountsAsAWrite) {
  const MetaInitGuard guard;
  Tensor x = torch::empty({3});
  for (const char* time : {"first", "second"}) {
    const auto before = x._version();
    EXPECT_TRUE(x.uniform_().is_same(x)) << time;
    EXPECT_EQ(x._version(), before + 1) << time;
  }
}

TEST(MetaPointer, WritesAreRefusedByTorch) {
  const MetaInitGuard guard;
  Tensor x = torch::empty({3});
  EXPECT_THROW(x.data_ptr<float>(), c10::Error);
  EXPECT_THROW((x.accessor<float, 1>()), c10::Error);
}

TEST(SequentialMode, RefusesToDrawAtOnce) {
  const MetaInitGuard guard(options_for(RandomMode::kSequential));
  EXPECT_THROW(torch::empty({5}, torch::kCPU).normal_(), BuildError);
}

TEST(SequentialMode, SeesThatAGeneratorWasSeededAgain) {
  const auto build = [] {
    const Tensor a = torch::randn(5);
    torch::manual_seed(kSeed);
    const Tensor b = torch::randn(5);
    auto generator = at::make_generator<at::CPUGeneratorImpl>(5);
    const Tensor c = torch::empty({20}).normal_(0, 1, generator);
    const Tensor d = torch::randn(5);
    return torch::cat({a, b, c, d, torch::empty({20}).normal_(0, 1, generator)});
  };
  const Tensor want = build_eagerly(build, RandomMode::kSequential);
  const auto [built, tape] = build_on_meta(build, RandomMode::kSequential);
  EXPECT_TRUE(identical(tape->replay({built})[0], want));
}

}  // namespace
}  // namespace fakescore::testing
