#pragma once

#include <string>
#include <vector>

#include "teacher/formats/torch_file/torch_archive.hpp"

namespace fakescore::detail {

/// The tensors of an archive's state dict, each under its dotted name.
///
/// `key` is the way down to it, in dots ("ema.params"; a key of the file may hold dots itself).
/// Empty means the top, which must then be a state dict: a dict of tensors and plain values in
/// which no other dict holds tensors; "." means the top whatever it is. Below it, a dict or
/// OrderedDict adds its key to the name; lists, tuples, sets and plain values are not looked into.
/// Of a TorchScript archive the top is the module, and a name is the path of attributes: every
/// attribute that is a tensor is listed, be it a parameter, a buffer or neither.
///
/// Inert records may lie beside what `key` names, but not in it; without a key, nowhere.
///
/// Throws TeacherError where there is no such key or nothing that holds tensors, naming the keys
/// that could be meant; where a name is there twice or is not UTF-8; for an inert record, by its
/// class and key; and for a tensor that cannot be read.
std::vector<StoredTensor> list_state_dict(const TorchArchive& archive, const std::string& key);

}  // namespace fakescore::detail
