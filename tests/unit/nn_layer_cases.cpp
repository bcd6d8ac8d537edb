#include <torch/torch.h>

#include "unit/module_case.hpp"

namespace fakescore::testing {
namespace {

namespace nn = torch::nn;

/// A layer from its options, which hold no tensors: whoever builds it makes them.
template <class Layer, class... Args>
ModuleCase layer(std::string name, Args... args) {
  return {std::move(name), [=] { return std::shared_ptr<nn::Module>(Layer(args...).ptr()); }};
}

}  // namespace

std::vector<ModuleCase> layer_cases() {
  return {
      layer<nn::Linear>("Linear", 5, 7),
      layer<nn::Linear>("Linear_no_bias", nn::LinearOptions(5, 7).bias(false)),
      layer<nn::Bilinear>("Bilinear", 3, 4, 5),
      layer<nn::Bilinear>("Bilinear_no_bias", nn::BilinearOptions(3, 4, 5).bias(false)),
      layer<nn::Conv1d>("Conv1d", 4, 6, 3),
      layer<nn::Conv1d>("Conv1d_circular",
                        nn::Conv1dOptions(4, 6, 3).padding(2).padding_mode(torch::kCircular)),
      layer<nn::Conv2d>("Conv2d", 4, 6, 3),
      layer<nn::Conv2d>("Conv2d_groups", nn::Conv2dOptions(4, 6, {3, 2}).groups(2)),
      layer<nn::Conv2d>("Conv2d_no_bias", nn::Conv2dOptions(4, 6, 3).bias(false)),
      layer<nn::Conv2d>("Conv2d_same", nn::Conv2dOptions(4, 6, 3).padding(torch::kSame)),
      layer<nn::Conv3d>("Conv3d", 4, 6, 3),
      layer<nn::Conv3d>("Conv3d_depthwise", nn::Conv3dOptions(4, 4, {1, 2, 3}).groups(4)),
      layer<nn::ConvTranspose1d>("ConvTranspose1d", 4, 6, 3),
      layer<nn::ConvTranspose2d>("ConvTranspose2d", 4, 6, 3),
      layer<nn::ConvTranspose2d>(
          "ConvTranspose2d_groups",
          nn::ConvTranspose2dOptions(4, 6, 3).groups(2).stride(2).output_padding(1)),
      layer<nn::ConvTranspose3d>("ConvTranspose3d", 4, 6, 3),
      layer<nn::BatchNorm1d>("BatchNorm1d", 5),
      layer<nn::BatchNorm2d>("BatchNorm2d", 5),
      layer<nn::BatchNorm2d>("BatchNorm2d_no_affine", nn::BatchNorm2dOptions(5).affine(false)),
      layer<nn::BatchNorm2d>("BatchNorm2d_no_statistics",
                             nn::BatchNorm2dOptions(5).track_running_stats(false)),
      layer<nn::BatchNorm3d>("BatchNorm3d", 5),
      layer<nn::InstanceNorm1d>(
          "InstanceNorm1d", nn::InstanceNorm1dOptions(4).affine(true).track_running_stats(true)),
      layer<nn::InstanceNorm2d>("InstanceNorm2d", nn::InstanceNorm2dOptions(4).affine(true)),
      layer<nn::InstanceNorm3d>("InstanceNorm3d",
                                nn::InstanceNorm3dOptions(4).track_running_stats(true)),
      layer<nn::LayerNorm>("LayerNorm", nn::LayerNormOptions({4, 5})),
      layer<nn::GroupNorm>("GroupNorm", 2, 8),
      layer<nn::PReLU>("PReLU", nn::PReLUOptions().num_parameters(3).init(0.5)),
      layer<nn::Embedding>("Embedding", 9, 4),
      layer<nn::Embedding>("Embedding_padding", nn::EmbeddingOptions(9, 4).padding_idx(1)),
      layer<nn::EmbeddingBag>("EmbeddingBag", 9, 4),
      layer<nn::EmbeddingBag>("EmbeddingBag_sum",
                              nn::EmbeddingBagOptions(9, 4).mode(torch::kSum).padding_idx(2)),
      {"Embedding_given",
       [] {
         return nn::Embedding(nn::EmbeddingOptions(4, 3)._weight(torch::rand({4, 3}))).ptr();
       }},
      {"Embedding_pretrained",
       [] {
         return nn::Embedding::from_pretrained(torch::rand({4, 3})).ptr();
       }},
      {"EmbeddingBag_pretrained",
       [] {
         return nn::EmbeddingBag::from_pretrained(
                    torch::rand({4, 3}), nn::EmbeddingBagFromPretrainedOptions().freeze(false))
             .ptr();
       }},
  };
}

std::vector<ModuleCase> recurrent_cases() {
  return {
      layer<nn::RNN>("RNN", 4, 5),
      layer<nn::RNN>("RNN_relu", nn::RNNOptions(4, 5).nonlinearity(torch::kReLU).num_layers(3)),
      layer<nn::LSTM>("LSTM", 4, 5),
      layer<nn::LSTM>("LSTM_projected",
                      nn::LSTMOptions(4, 5).num_layers(2).bidirectional(true).proj_size(3)),
      layer<nn::LSTM>("LSTM_no_bias", nn::LSTMOptions(4, 5).bias(false).num_layers(2)),
      layer<nn::GRU>("GRU", 4, 5),
      layer<nn::GRU>("GRU_bidirectional",
                     nn::GRUOptions(4, 5).num_layers(2).bidirectional(true).batch_first(true)),
      layer<nn::RNNCell>("RNNCell", 4, 5),
      layer<nn::RNNCell>("RNNCell_no_bias", nn::RNNCellOptions(4, 5).bias(false)),
      layer<nn::LSTMCell>("LSTMCell", 4, 5),
      layer<nn::GRUCell>("GRUCell", 4, 5),
  };
}

std::vector<ModuleCase> attention_cases() {
  using Attention = nn::MultiheadAttentionOptions;
  const auto encoder_layer = nn::TransformerEncoderLayerOptions(8, 2).dim_feedforward(16);
  const auto decoder_layer = nn::TransformerDecoderLayerOptions(8, 2).dim_feedforward(16);
  return {
      layer<nn::MultiheadAttention>("MultiheadAttention", 8, 2),
      layer<nn::MultiheadAttention>("MultiheadAttention_no_bias", Attention(8, 2).bias(false)),
      layer<nn::MultiheadAttention>("MultiheadAttention_bias_kv",
                                    Attention(8, 2).add_bias_kv(true).add_zero_attn(true)),
      layer<nn::MultiheadAttention>("MultiheadAttention_separate", Attention(8, 2).kdim(4).vdim(6)),
      layer<nn::TransformerEncoderLayer>("TransformerEncoderLayer", encoder_layer),
      layer<nn::TransformerDecoderLayer>(
          "TransformerDecoderLayer",
          nn::TransformerDecoderLayerOptions(decoder_layer).activation(torch::kGELU)),
      {"TransformerEncoder",
       [=] {
         return nn::TransformerEncoder(nn::TransformerEncoderOptions(encoder_layer, 2)).ptr();
       }},
      {"TransformerEncoder_norm",
       [=] {
         return nn::TransformerEncoder(
                    nn::TransformerEncoderOptions(encoder_layer, 2)
                        .norm(nn::AnyModule(nn::LayerNorm(nn::LayerNormOptions({8})))))
             .ptr();
       }},
      {"TransformerDecoder",
       [=] {
         return nn::TransformerDecoder(nn::TransformerDecoderOptions(decoder_layer, 2)).ptr();
       }},
      layer<nn::Transformer>("Transformer", nn::TransformerOptions(8, 2, 1, 2).dim_feedforward(16)),
      {"Transformer_custom_encoder",
       [=] {
         const nn::TransformerEncoder own(nn::TransformerEncoderOptions(encoder_layer, 1));
         return nn::Transformer(nn::TransformerOptions(8, 2, 1, 1)
                                    .dim_feedforward(16)
                                    .custom_encoder(nn::AnyModule(own)))
             .ptr();
       }},
      layer<nn::AdaptiveLogSoftmaxWithLoss>(
          "AdaptiveLogSoftmaxWithLoss",
          nn::AdaptiveLogSoftmaxWithLossOptions(16, 20, {5, 10}).div_value(2)),
      layer<nn::AdaptiveLogSoftmaxWithLoss>(
          "AdaptiveLogSoftmaxWithLoss_head_bias",
          nn::AdaptiveLogSoftmaxWithLossOptions(16, 20, {5, 10}).head_bias(true)),
  };
}

std::vector<ModuleCase> loss_and_container_cases() {
  const auto weights = [] { return torch::rand(3); };
  return {
      {"CrossEntropyLoss",
       [=] { return nn::CrossEntropyLoss(nn::CrossEntropyLossOptions().weight(weights())).ptr(); }},
      {"NLLLoss", [=] { return nn::NLLLoss(nn::NLLLossOptions().weight(weights())).ptr(); }},
      {"BCELoss", [=] { return nn::BCELoss(nn::BCELossOptions().weight(weights())).ptr(); }},
      {"BCEWithLogitsLoss",
       [=] {
         return nn::BCEWithLogitsLoss(
                    nn::BCEWithLogitsLossOptions().weight(weights()).pos_weight(weights()))
             .ptr();
       }},
      {"MultiLabelSoftMarginLoss",
       [=] {
         return nn::MultiLabelSoftMarginLoss(
                    nn::MultiLabelSoftMarginLossOptions().weight(weights()))
             .ptr();
       }},
      {"MultiMarginLoss",
       [=] { return nn::MultiMarginLoss(nn::MultiMarginLossOptions().weight(weights())).ptr(); }},
      {"ParameterList", [] { return nn::ParameterList(torch::randn(3), torch::zeros(2)).ptr(); }},
      {"ParameterDict",
       [] {
         torch::OrderedDict<std::string, at::Tensor> items;
         items.insert("a", torch::randn(3));
         return nn::ParameterDict(items).ptr();
       }},
      {"ModuleList", [] { return nn::ModuleList(nn::Linear(3, 4), nn::Embedding(5, 2)).ptr(); }},
      {"ModuleDict",
       [] {
         torch::OrderedDict<std::string, std::shared_ptr<nn::Module>> items;
         items.insert("first", nn::Linear(3, 4).ptr());
         items.insert("second", nn::GRU(3, 4).ptr());
         return nn::ModuleDict(items).ptr();
       }},
      {"Sequential",
       [] {
         return nn::Sequential(nn::Linear(3, 4), nn::ReLU(), nn::BatchNorm1d(4), nn::Dropout())
             .ptr();
       }},
  };
}

std::vector<ModuleCase> parameterless_cases() {
  return {
      layer<nn::PixelShuffle>("PixelShuffle", 2),
      layer<nn::PixelUnshuffle>("PixelUnshuffle", 2),
      layer<nn::Fold>("Fold", nn::FoldOptions(4, 2)),
      layer<nn::Unfold>("Unfold", nn::UnfoldOptions(2)),
      layer<nn::ELU>("ELU"),
      layer<nn::SELU>("SELU"),
      layer<nn::Hardshrink>("Hardshrink"),
      layer<nn::Hardtanh>("Hardtanh"),
      layer<nn::LeakyReLU>("LeakyReLU"),
      layer<nn::LogSigmoid>("LogSigmoid"),
      layer<nn::Softmax>("Softmax", 1),
      layer<nn::Softmin>("Softmin", 1),
      layer<nn::LogSoftmax>("LogSoftmax", 1),
      layer<nn::Softmax2d>("Softmax2d"),
      layer<nn::ReLU>("ReLU"),
      layer<nn::ReLU6>("ReLU6"),
      layer<nn::RReLU>("RReLU"),
      layer<nn::CELU>("CELU"),
      layer<nn::GLU>("GLU"),
      layer<nn::GELU>("GELU"),
      layer<nn::SiLU>("SiLU"),
      layer<nn::Mish>("Mish"),
      layer<nn::Sigmoid>("Sigmoid"),
      layer<nn::Softplus>("Softplus"),
      layer<nn::Softshrink>("Softshrink"),
      layer<nn::Softsign>("Softsign"),
      layer<nn::Tanh>("Tanh"),
      layer<nn::Tanhshrink>("Tanhshrink"),
      layer<nn::Threshold>("Threshold", 0.1, 20),
      layer<nn::AvgPool1d>("AvgPool1d", 2),
      layer<nn::AvgPool2d>("AvgPool2d", 2),
      layer<nn::AvgPool3d>("AvgPool3d", 2),
      layer<nn::MaxPool1d>("MaxPool1d", 2),
      layer<nn::MaxPool2d>("MaxPool2d", 2),
      layer<nn::MaxPool3d>("MaxPool3d", 2),
      layer<nn::AdaptiveMaxPool1d>("AdaptiveMaxPool1d", 2),
      layer<nn::AdaptiveMaxPool2d>("AdaptiveMaxPool2d", 2),
      layer<nn::AdaptiveMaxPool3d>("AdaptiveMaxPool3d", 2),
      layer<nn::AdaptiveAvgPool1d>("AdaptiveAvgPool1d", 2),
      layer<nn::AdaptiveAvgPool2d>("AdaptiveAvgPool2d", 2),
      layer<nn::AdaptiveAvgPool3d>("AdaptiveAvgPool3d", 2),
      layer<nn::MaxUnpool1d>("MaxUnpool1d", 2),
      layer<nn::MaxUnpool2d>("MaxUnpool2d", 2),
      layer<nn::MaxUnpool3d>("MaxUnpool3d", 2),
      layer<nn::FractionalMaxPool2d>("FractionalMaxPool2d",
                                     nn::FractionalMaxPool2dOptions(2).output_size(1)),
      layer<nn::FractionalMaxPool3d>("FractionalMaxPool3d",
                                     nn::FractionalMaxPool3dOptions(2).output_size(1)),
      layer<nn::LPPool1d>("LPPool1d", nn::LPPool1dOptions(2, 3)),
      layer<nn::LPPool2d>("LPPool2d", nn::LPPool2dOptions(2, 3)),
      layer<nn::LPPool3d>("LPPool3d", nn::LPPool3dOptions(2, 3)),
      layer<nn::Dropout>("Dropout"),
      layer<nn::Dropout2d>("Dropout2d"),
      layer<nn::Dropout3d>("Dropout3d"),
      layer<nn::AlphaDropout>("AlphaDropout"),
      layer<nn::FeatureAlphaDropout>("FeatureAlphaDropout"),
      layer<nn::LocalResponseNorm>("LocalResponseNorm", 2),
      layer<nn::CrossMapLRN2d>("CrossMapLRN2d", 2),
      layer<nn::CosineSimilarity>("CosineSimilarity"),
      layer<nn::PairwiseDistance>("PairwiseDistance"),
      layer<nn::L1Loss>("L1Loss"),
      layer<nn::KLDivLoss>("KLDivLoss"),
      layer<nn::MSELoss>("MSELoss"),
      layer<nn::HingeEmbeddingLoss>("HingeEmbeddingLoss"),
      layer<nn::CosineEmbeddingLoss>("CosineEmbeddingLoss"),
      layer<nn::SmoothL1Loss>("SmoothL1Loss"),
      layer<nn::HuberLoss>("HuberLoss"),
      layer<nn::MultiLabelMarginLoss>("MultiLabelMarginLoss"),
      layer<nn::SoftMarginLoss>("SoftMarginLoss"),
      layer<nn::TripletMarginLoss>("TripletMarginLoss"),
      layer<nn::TripletMarginWithDistanceLoss>("TripletMarginWithDistanceLoss"),
      layer<nn::CTCLoss>("CTCLoss"),
      layer<nn::PoissonNLLLoss>("PoissonNLLLoss"),
      layer<nn::MarginRankingLoss>("MarginRankingLoss"),
      layer<nn::Upsample>("Upsample"),
      layer<nn::ReflectionPad1d>("ReflectionPad1d", 1),
      layer<nn::ReflectionPad2d>("ReflectionPad2d", 1),
      layer<nn::ReflectionPad3d>("ReflectionPad3d", 1),
      layer<nn::ReplicationPad1d>("ReplicationPad1d", 1),
      layer<nn::ReplicationPad2d>("ReplicationPad2d", 1),
      layer<nn::ReplicationPad3d>("ReplicationPad3d", 1),
      layer<nn::ZeroPad1d>("ZeroPad1d", 1),
      layer<nn::ZeroPad2d>("ZeroPad2d", 1),
      layer<nn::ZeroPad3d>("ZeroPad3d", 1),
      layer<nn::ConstantPad1d>("ConstantPad1d", 1, 2.5),
      layer<nn::ConstantPad2d>("ConstantPad2d", 1, 2.5),
      layer<nn::ConstantPad3d>("ConstantPad3d", 1, 2.5),
      layer<nn::Identity>("Identity"),
      layer<nn::Flatten>("Flatten"),
      layer<nn::Unflatten>("Unflatten", nn::UnflattenOptions(1, std::vector<int64_t>{2, 2})),
      layer<nn::Functional>("Functional", [](const at::Tensor& x) { return x; }),
  };
}

}  // namespace fakescore::testing
